//! Collects what is wrong with one zone file, with byte offsets turned into lines and columns.

use crate::base::diagnostic::{Diagnostic, Severity, Span};

/// More than anybody reads; keeps a file that is no zone file from filling memory.
const MAX_DIAGNOSTICS: usize = 1_000;

/// A stretch of the file: byte offset and length.
pub(super) type Place = (usize, usize);

/// The diagnostics of one file.
#[derive(Debug)]
pub(super) struct Report<'a> {
    pub file: &'a str,
    text: &'a str,
    /// Byte offset of each line's start.
    line_starts: Vec<usize>,
    diagnostics: Vec<Diagnostic>,
}

impl<'a> Report<'a> {
    pub fn new(file: &'a str, text: &'a str) -> Self {
        let starts = text.bytes().enumerate().filter(|&(_, byte)| byte == b'\n').map(|(at, _)| at + 1);
        let line_starts = std::iter::once(0).chain(starts).collect();
        Self { file, text, line_starts, diagnostics: Vec::new() }
    }

    /// Like [`Span::in_text`], without counting the lines again each time.
    pub fn span(&self, (offset, len): Place) -> Span {
        let line = self.line_starts.partition_point(|&start| start <= offset);
        let start = self.line_starts[line - 1];
        let in_line = Span::in_text(&self.text[start..], offset - start, len);
        Span { offset, line: u32::try_from(line).unwrap_or(u32::MAX), ..in_line }
    }

    pub fn error(
        &mut self,
        code: &'static str,
        place: Place,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        let diagnostic = Diagnostic::error(code, self.file, Some(self.span(place)), message).help(help);
        self.push(diagnostic);
    }

    pub fn warning(
        &mut self,
        code: &'static str,
        place: Place,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        let diagnostic = Diagnostic::warning(code, self.file, Some(self.span(place)), message).help(help);
        self.push(diagnostic);
    }

    /// Adds a second place of the same file to the diagnostic pushed last.
    pub fn related(&mut self, place: Place, message: &str) {
        let span = Some(self.span(place));
        if let Some(last) = self.diagnostics.pop() {
            self.diagnostics.push(last.related(self.file, span, message));
        }
    }

    fn push(&mut self, diagnostic: Diagnostic) {
        if self.diagnostics.len() < MAX_DIAGNOSTICS {
            self.diagnostics.push(diagnostic);
        }
    }

    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
    }

    /// In file order.
    pub fn finish(mut self) -> Vec<Diagnostic> {
        self.diagnostics.sort_by_key(|diagnostic| diagnostic.span.map(|span| span.offset));
        self.diagnostics
    }
}
