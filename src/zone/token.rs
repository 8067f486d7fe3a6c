//! Zone file text to entries of tokens, with the place of each (RFC 1035 5.1).
//!
//! ```text
//!  @ 3600 IN SOA ns1 host ( 1 ; serial        one entry, indented: no
//!                           2 3 4 5 )         tokens: @ 3600 IN SOA ns1 host 1 2 3 4 5
//! ```
//!
//! Escapes stay as written, since what they mean depends on the field. A broken entry costs itself
//! only: reading resumes at the next line, for a parenthesis never closed at the line after it. A
//! string does not run over the end of its line, which catches a forgotten quote where it is.

/// One word or string of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token<'a> {
    /// Without the quotes, with escapes.
    pub text: &'a str,
    /// Byte offset of `text` in the file.
    pub offset: usize,
    pub quoted: bool,
    /// Quoted, and right after a word: the value of `key="..."`.
    pub is_joined: bool,
}

/// A directive or a record; never without tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry<'a> {
    pub tokens: Vec<Token<'a>>,
    /// Starts with white space: the owner is that of the record before.
    pub indented: bool,
}

/// Why no entry could be made of some text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TokenError {
    pub offset: usize,
    pub message: &'static str,
    pub help: &'static str,
}

/// Splits a file; yields every entry and every error, in file order.
#[derive(Debug)]
pub(super) struct Entries<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Entries<'a> {
    pub fn new(text: &'a str) -> Self {
        let at = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
        Self { text, at }
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// One entry, possibly without tokens. On error `self.at` is where to resume.
    fn entry(&mut self) -> Result<Entry<'a>, TokenError> {
        let indented = matches!(self.byte(), Some(b' ' | b'\t'));
        let mut tokens = Vec::new();
        let mut open: Option<usize> = None;
        loop {
            match self.byte() {
                None | Some(b'\n') if open.is_none() => {
                    self.at += 1;
                    return Ok(Entry { tokens, indented });
                }
                None => return Err(self.unclosed(open)),
                Some(b' ' | b'\t' | b'\r' | b'\n') => self.at += 1,
                Some(b';') => self.skip_line(),
                Some(b'(') if open.is_some() => return Err(self.unclosed(open)),
                Some(b'(') => {
                    open = Some(self.at);
                    self.at += 1;
                }
                Some(b')') if open.is_none() => return Err(self.stray_parenthesis()),
                Some(b')') => {
                    open = None;
                    self.at += 1;
                }
                Some(b'"') => tokens.push(self.string()?),
                Some(_) => tokens.push(self.word()),
            }
        }
    }

    /// To the line end, not over it.
    fn skip_line(&mut self) {
        let rest = &self.text.as_bytes()[self.at..];
        self.at += rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len());
    }

    fn unclosed(&mut self, open: Option<usize>) -> TokenError {
        let offset = open.unwrap_or(self.at);
        self.at = offset;
        self.skip_line();
        self.at += 1;
        TokenError { offset, message: "this parenthesis is never closed", help: "add the missing `)`" }
    }

    fn stray_parenthesis(&mut self) -> TokenError {
        let offset = self.at;
        self.skip_line();
        self.at += 1;
        TokenError {
            offset,
            message: "this parenthesis closes nothing",
            help: "remove it, add the missing `(`, or write `\\)`",
        }
    }

    /// From an opening quote to the closing one on the same line.
    fn string(&mut self) -> Result<Token<'a>, TokenError> {
        let quote = self.at;
        let bytes = self.text.as_bytes();
        let before = quote.checked_sub(1).and_then(|at| bytes.get(at));
        let is_joined = before.is_some_and(|before| !b" \t\r\n()\"".contains(before));
        let mut at = quote + 1;
        loop {
            match bytes.get(at) {
                Some(b'"') => break,
                Some(b'\\') if bytes.get(at + 1).is_some_and(|&byte| byte != b'\n') => at += 2,
                None | Some(b'\n') => {
                    self.at = at + 1;
                    return Err(TokenError {
                        offset: quote,
                        message: "this string is not closed on its line",
                        help: "add the missing `\"`; a string of several parts is several strings",
                    });
                }
                Some(_) => at += 1,
            }
        }
        self.at = at + 1;
        Ok(Token { text: &self.text[quote + 1..at], offset: quote + 1, quoted: true, is_joined })
    }

    fn word(&mut self) -> Token<'a> {
        let start = self.at;
        let bytes = self.text.as_bytes();
        while let Some(&byte) = bytes.get(self.at) {
            match byte {
                b' ' | b'\t' | b'\r' | b'\n' | b';' | b'(' | b')' | b'"' => break,
                b'\\' if bytes.get(self.at + 1).is_some_and(|&next| next != b'\n') => self.at += 2,
                _ => self.at += 1,
            }
        }
        // An escaped character may be of several bytes; its tail is consumed as plain bytes above.
        Token { text: &self.text[start..self.at], offset: start, quoted: false, is_joined: false }
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<Entry<'a>, TokenError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.at < self.text.len() {
            match self.entry() {
                Ok(entry) if entry.tokens.is_empty() => {}
                other => return Some(other),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shape(text: &str) -> Vec<String> {
        Entries::new(text)
            .map(|item| match item {
                Ok(entry) => {
                    let words: Vec<&str> = entry.tokens.iter().map(|token| token.text).collect();
                    format!("{}{}", if entry.indented { ">" } else { "" }, words.join("|"))
                }
                Err(error) => format!("!{} {}", error.offset, error.message),
            })
            .collect()
    }

    #[test]
    fn entries_span_parentheses_and_skip_comments() {
        assert_eq!(shape("a (b ; x )\n c)\n\n; only\n d \"e f\"g"), ["a|b|c", ">d|e f|g"]);
        assert_eq!(shape("\u{feff}a\\ b\\;\\\"c d\r\n"), ["a\\ b\\;\\\"c|d"]);
        assert_eq!(shape("a \"\" \"q\\\"q\""), ["a||q\\\"q"]);
    }

    #[test]
    fn a_broken_entry_costs_itself_only() {
        assert_eq!(
            shape("a (b\nc d\ne (f\ng)\nh"),
            ["!2 this parenthesis is never closed", "c|d", "e|f|g", "h"]
        );
        assert_eq!(shape("a )b\nc"), ["!2 this parenthesis closes nothing", "c"]);
        assert_eq!(shape("a \"b\nc"), ["!2 this string is not closed on its line", "c"]);
        assert_eq!(shape("a (\nb"), ["!2 this parenthesis is never closed", "b"]);
    }

    proptest! {
        #[test]
        fn no_text_panics_and_tokens_are_where_they_say(text in "[a\\\\\"();é \t\r\n.]{0,60}") {
            for entry in Entries::new(&text).flatten() {
                for token in entry.tokens {
                    prop_assert_eq!(&text[token.offset..token.offset + token.text.len()], token.text);
                }
            }
        }
    }
}
