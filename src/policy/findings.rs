//! Where a policy's diagnostics are collected, and the place every value carries.
//!
//! Reading never stops at a problem: it reports here and goes on with what it could understand.

use super::codes::{self, Code};
use crate::base::diagnostic::{Diagnostic, Related, Severity, Span};

/// A stretch of one of the files being loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Position in the list of files.
    pub file: u16,
    pub span: Span,
}

impl Place {
    pub fn start_of(file: u16) -> Self {
        Self { file, span: Span { offset: 0, len: 0, line: 1, column: 1 } }
    }
}

/// A value and where it was written.
#[derive(Clone, Debug)]
pub struct At<T> {
    pub value: T,
    pub place: Place,
}

/// Diagnostics of one load that are kept: a broken generator must not fill memory with its mistakes.
const MAX_KEPT: usize = 1_000;

/// The diagnostics of one load.
#[derive(Debug)]
pub struct Findings {
    paths: Vec<String>,
    list: Vec<Diagnostic>,
    /// Errors and warnings reported after [`MAX_KEPT`].
    not_kept: usize,
    errors: bool,
}

/// The diagnostic just reported, for its remedy and related places.
pub struct Report<'a> {
    paths: &'a [String],
    diagnostic: &'a mut Diagnostic,
}

impl Findings {
    pub fn new(paths: Vec<String>) -> Self {
        Self { paths, list: Vec::new(), not_kept: 0, errors: false }
    }

    pub fn report(&mut self, code: &'static Code, place: Place, message: impl Into<String>) -> Report<'_> {
        let path = self.path(place.file).to_owned();
        self.errors |= code.severity == Severity::Error;
        if self.list.len() > MAX_KEPT {
            // The last one is overwritten until the end, when it becomes the count.
            self.list.pop();
            self.not_kept += 1;
        }
        self.list.push(Diagnostic {
            code: code.name,
            severity: code.severity,
            file: path,
            span: Some(place.span),
            message: message.into(),
            help: None,
            related: Vec::new(),
        });
        let diagnostic = self.list.last_mut().expect("one was just pushed");
        Report { paths: &self.paths, diagnostic }
    }

    pub fn path(&self, file: u16) -> &str {
        self.paths.get(usize::from(file)).map_or("", String::as_str)
    }

    pub fn has_errors(&self) -> bool {
        self.errors
    }

    /// By file, place and code; a diagnostic found twice (by way of an alias, say) is kept once.
    pub fn into_sorted(mut self) -> Vec<Diagnostic> {
        if let Some(last) = self.list.pop_if(|_| self.not_kept > 0) {
            let place = Place { file: 0, span: last.span.unwrap_or_default() };
            let message = format!("{} more mistakes are not shown", self.not_kept + 1);
            self.report(&codes::TOO_MANY, place, message).help("correct the first ones, then check again");
            if let Some(count) = self.list.last_mut() {
                count.file = last.file;
            }
        }
        self.list.sort_by(|a, b| {
            let key = |d: &Diagnostic| d.span.map_or((0, 0), |span| (span.offset, span.len));
            (&a.file, key(a), a.code, &a.message).cmp(&(&b.file, key(b), b.code, &b.message))
        });
        self.list.dedup();
        self.list
    }
}

impl Report<'_> {
    pub fn help(self, help: impl Into<String>) -> Self {
        self.diagnostic.help = Some(help.into());
        self
    }

    /// "did you mean" when there is something near, else `otherwise`.
    pub fn suggest<'k>(
        self,
        word: &str,
        known: impl IntoIterator<Item = &'k str>,
        otherwise: impl FnOnce() -> String,
    ) -> Self {
        let help = match crate::base::diagnostic::did_you_mean(word, known) {
            Some(near) => format!("did you mean `{near}`?"),
            None => otherwise(),
        };
        self.help(help)
    }

    pub fn related(self, place: Place, message: impl Into<String>) -> Self {
        let file = self.paths.get(usize::from(place.file)).cloned().unwrap_or_default();
        self.diagnostic.related.push(Related { file, span: Some(place.span), message: message.into() });
        self
    }
}
