//! Regular expressions of policy: compiled where they are read, so that nobody later meets a bad one.
//!
//! Matching takes time linear in the text whatever the pattern (no backtracking); compiling is bounded
//! by [`SIZE_LIMIT`]. Bytes are matched, not characters: `.` and `\w` are ASCII, since the bodies of
//! probes are anything.

use regex::bytes::{Regex, RegexBuilder};

/// Bytes that a compiled pattern may take.
const SIZE_LIMIT: usize = 256 * 1024;

/// A compiled regular expression; equal to another of the same text.
#[derive(Clone, Debug)]
pub struct Pattern {
    compiled: Regex,
}

impl Pattern {
    /// # Errors
    /// Why `text` is not a regular expression, in one line.
    pub fn new(text: &str) -> Result<Self, String> {
        let compiled = RegexBuilder::new(text).unicode(false).size_limit(SIZE_LIMIT).build();
        compiled.map(|compiled| Self { compiled }).map_err(|error| told(&error))
    }

    /// Whether some part of `text` matches.
    pub fn is_in(&self, text: &[u8]) -> bool {
        self.compiled.is_match(text)
    }

    pub fn as_str(&self) -> &str {
        self.compiled.as_str()
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Pattern {}

/// The last line of the message: the ones before it draw the place.
fn told(error: &regex::Error) -> String {
    let text = error.to_string();
    let line = text.lines().last().unwrap_or("it cannot be read");
    line.trim_start_matches("error: ").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_bytes() {
        let pattern = Pattern::new(r#""status":\s*"(ok|warm)""#).expect("a pattern");
        assert!(pattern.is_in(b"\xff{\"status\": \"warm\"}"));
        assert!(!pattern.is_in(b"{\"status\": \"cold\"}"));
        assert_eq!(pattern, Pattern::new(pattern.as_str()).expect("the same"));
        assert_ne!(pattern, Pattern::new("ok").expect("another"));
    }

    #[test]
    fn bad_and_huge_patterns_are_refused_in_one_line() {
        assert_eq!(Pattern::new("(ok").map(drop), Err("unclosed group".to_owned()));
        let huge = Pattern::new("((a{100}){100}){100}").expect_err("too large");
        assert!(huge.contains("size limit") && !huge.contains('\n'), "{huge}");
    }
}
