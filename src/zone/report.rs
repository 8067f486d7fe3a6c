//! Collects what is wrong with one zone, with byte offsets turned into lines and columns.
//!
//! A zone may be of several texts, its file and what that includes; every place says which one it is
//! in, and a mistake in an included text also shows the line that included it.

use crate::base::diagnostic::{Diagnostic, Severity, SourceFile, Span};
use std::sync::Arc;

/// More than anybody reads; keeps a file that is no zone file from filling memory.
const MAX_DIAGNOSTICS: usize = 1_000;

/// A stretch of one of the texts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// Position of the text in the report.
    pub source: usize,
    /// In bytes, as `len`.
    pub offset: usize,
    pub len: usize,
}

/// One text of the zone.
#[derive(Debug)]
struct Source {
    path: String,
    text: Arc<str>,
    /// Byte offset of each line's start.
    line_starts: Vec<usize>,
    /// The directive that included it.
    from: Option<Place>,
}

/// The diagnostics of one zone.
#[derive(Debug, Default)]
pub(super) struct Report {
    sources: Vec<Source>,
    diagnostics: Vec<(Place, Diagnostic)>,
    has_errors: bool,
}

impl Report {
    /// Adds a text and gives its position; one that is included again keeps its first.
    pub fn add_source(&mut self, path: &str, text: &Arc<str>, from: Option<Place>) -> usize {
        if let Some(known) = self.sources.iter().position(|source| source.path == path) {
            return known;
        }
        let starts = text.bytes().enumerate().filter(|&(_, byte)| byte == b'\n').map(|(at, _)| at + 1);
        let line_starts = std::iter::once(0).chain(starts).collect();
        self.sources.push(Source { path: path.to_owned(), text: Arc::clone(text), line_starts, from });
        self.sources.len() - 1
    }

    /// The path of a text; empty if there is none at that position.
    pub fn path(&self, source: usize) -> &str {
        self.sources.get(source).map_or("", |source| &source.path)
    }

    /// The line that included a text.
    pub fn included_at(&self, source: usize) -> Option<Place> {
        self.sources.get(source)?.from
    }

    /// Like [`Span::in_text`], without counting the lines again each time.
    pub fn span(&self, place: Place) -> Option<Span> {
        let source = self.sources.get(place.source)?;
        let line = source.line_starts.partition_point(|&start| start <= place.offset);
        let start = *source.line_starts.get(line.checked_sub(1)?)?;
        let in_line = Span::in_text(source.text.get(start..)?, place.offset - start, place.len);
        Some(Span {
            offset: in_line.offset + start,
            line: u32::try_from(line).unwrap_or(u32::MAX),
            ..in_line
        })
    }

    pub fn error(
        &mut self,
        code: &'static str,
        place: Place,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.push(Severity::Error, code, place, message.into(), help.into());
    }

    pub fn warning(
        &mut self,
        code: &'static str,
        place: Place,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.push(Severity::Warning, code, place, message.into(), help.into());
    }

    fn push(&mut self, severity: Severity, code: &'static str, place: Place, message: String, help: String) {
        self.has_errors |= severity == Severity::Error;
        if self.diagnostics.len() >= MAX_DIAGNOSTICS {
            return;
        }
        let file = self.path(place.source).to_owned();
        let diagnostic = Diagnostic::error(code, file, self.span(place), message).help(help);
        self.diagnostics.push((place, Diagnostic { severity, ..diagnostic }));
        if let Some(from) = self.included_at(place.source) {
            self.related(from, "included here");
        }
    }

    /// Adds a second place to the diagnostic pushed last.
    pub fn related(&mut self, place: Place, message: &str) {
        let (file, span) = (self.path(place.source).to_owned(), self.span(place));
        if let Some((at, last)) = self.diagnostics.pop() {
            self.diagnostics.push((at, last.related(file, span, message)));
        }
    }

    pub fn has_errors(&self) -> bool {
        self.has_errors
    }

    /// The texts, and what was found, in their order; the same finding once.
    pub fn finish(mut self) -> (Vec<SourceFile>, Vec<Diagnostic>) {
        self.diagnostics.sort_by_key(|(place, _)| (place.source, place.offset));
        self.diagnostics.dedup();
        let sources = self.sources.iter();
        let sources = sources.map(|it| SourceFile { path: it.path.clone(), text: it.text.to_string() });
        (sources.collect(), self.diagnostics.into_iter().map(|(_, diagnostic)| diagnostic).collect())
    }
}
