//! What is wrong with something the user wrote: a stable code, a place, a sentence, a remedy.
//!
//! Diagnostics are values: every reader of user text returns a list of them and nobody prints here.
//! Rendering (source line, marks, colours) is the command line's business. Every code is listed in
//! `docs/diagnostics.md`; a test holds the two together.

use serde::Serialize;

/// How bad it is. Errors keep a policy from being used; warnings do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    Warning,
    Error,
}

/// A stretch of a file. Lines and columns count from 1; columns count characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Span {
    /// Byte offset of the first character.
    pub offset: usize,
    /// Length in bytes; 0 marks a point.
    pub len: usize,
    pub line: u32,
    pub column: u32,
}

impl Span {
    /// The span of `text[offset..offset + len]`, with line and column counted.
    pub fn in_text(text: &str, offset: usize, len: usize) -> Self {
        let mut offset = offset.min(text.len());
        while !text.is_char_boundary(offset) {
            offset -= 1;
        }
        let before = &text[..offset];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let line = 1 + before.bytes().filter(|&byte| byte == b'\n').count();
        let column = 1 + text[line_start..offset].chars().count();
        let len = len.min(text.len() - offset);
        let as_u32 = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Self { offset, len, line: as_u32(line), column: as_u32(column) }
    }
}

/// A second place that explains the first ("first defined here").
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Related {
    pub file: String,
    pub span: Option<Span>,
    pub message: String,
}

/// One thing wrong with the user's input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// Stable, kebab-case: `unknown-key`.
    pub code: &'static str,
    pub severity: Severity,
    /// Relative to the folder or as the user named it.
    pub file: String,
    pub span: Option<Span>,
    /// Lower case, no final stop.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    pub related: Vec<Related>,
}

impl Diagnostic {
    pub fn error(
        code: &'static str,
        file: impl Into<String>,
        span: Option<Span>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            code,
            severity: Severity::Error,
            file: file.into(),
            span,
            message: message.into(),
            help: None,
            related: Vec::new(),
        }
    }

    pub fn warning(
        code: &'static str,
        file: impl Into<String>,
        span: Option<Span>,
        message: impl Into<String>,
    ) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, file, span, message) }
    }

    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    #[must_use]
    pub fn related(
        mut self,
        file: impl Into<String>,
        span: Option<Span>,
        message: impl Into<String>,
    ) -> Self {
        self.related.push(Related { file: file.into(), span, message: message.into() });
        self
    }

    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// `file:line:column`, as much of it as is known.
    pub fn place(&self) -> String {
        match self.span {
            Some(span) => format!("{}:{}:{}", self.file, span.line, span.column),
            None => self.file.clone(),
        }
    }
}

/// A text file the user wrote, with the name to show for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// Relative to the policy folder, with `/` between parts: `services/live.yaml`.
    pub path: String,
    pub text: String,
}

/// The nearest of `known` to `word`, if it is near enough to be what was meant.
pub fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(word, candidate), candidate))
        .filter(|(score, _)| *score >= 0.78)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_counts_characters_not_bytes() {
        let text = "a: é\nbc: x\n";
        let span = Span::in_text(text, text.find('x').expect("x is there"), 1);
        assert_eq!((span.line, span.column), (2, 5));
        let inside = Span::in_text(text, 4, 1);
        assert_eq!((inside.line, inside.column), (1, 4), "an offset inside a character moves to its start");
        assert_eq!(Span::in_text(text, 99, 9).len, 0);
    }

    #[test]
    fn suggestions_are_near_or_absent() {
        assert_eq!(did_you_mean("reigon", ["region", "site"]), Some("region"));
        assert_eq!(did_you_mean("zzz", ["region", "site"]), None);
    }
}
