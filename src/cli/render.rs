//! Diagnostics as people read them: the place, the source line with the mistake marked, the remedy.
//!
//! ```text
//! error[unknown-site]: there is no site `shaa`
//!   --> fleet.yaml:31:18
//!    |
//! 31 |   sha-ct: {site: shaa, line: telecom}
//!    |                  ^^^^
//!    = help: did you mean `sha`?
//! ```
//!
//! Text comes back with or without colours; whether the stream wants them is asked by [`print()`],
//! which honours `NO_COLOR` and strips colours for files and pipes.

use crate::base::clock::WallTime;
use crate::base::diagnostic::{Diagnostic, Severity, SourceFile, Span};
use annotate_snippets::{AnnotationKind, Element, Group, Level, Origin, Renderer, Snippet};
use std::io::Write;

/// Prints diagnostics and their count to standard output, in colour where that is wanted.
pub fn print(diagnostics: &[Diagnostic], sources: &[SourceFile]) -> std::io::Result<()> {
    let mut out = anstream::AutoStream::auto(std::io::stdout().lock());
    let renderer = Renderer::styled();
    for diagnostic in diagnostics {
        writeln!(out, "{}\n", render(diagnostic, sources, &renderer))?;
    }
    writeln!(out, "{}", summary(diagnostics, sources.len()))?;
    out.flush()
}

/// Diagnostics without colours, a blank line after each.
pub fn plain(diagnostics: &[Diagnostic], sources: &[SourceFile]) -> String {
    let renderer = Renderer::plain();
    diagnostics.iter().map(|diagnostic| render(diagnostic, sources, &renderer) + "\n\n").collect()
}

/// `12 errors, 1 warning in 7 files`; `no mistakes in 7 files`.
pub fn summary(diagnostics: &[Diagnostic], files: usize) -> String {
    let errors = diagnostics.iter().filter(|diagnostic| diagnostic.is_error()).count();
    let warnings = diagnostics.len() - errors;
    let found = match (errors, warnings) {
        (0, 0) => "no mistakes".to_owned(),
        (_, 0) => counted(errors, "error"),
        (0, _) => counted(warnings, "warning"),
        _ => format!("{}, {}", counted(errors, "error"), counted(warnings, "warning")),
    };
    format!("{found} in {}", counted(files, "file"))
}

fn counted(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

fn render(diagnostic: &Diagnostic, sources: &[SourceFile], renderer: &Renderer) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let title = level.primary_title(visible(&diagnostic.message)).id(diagnostic.code);
    let place = Excerpt::of(&diagnostic.file, diagnostic.span, sources);
    let mut groups = vec![title.element(place.element(AnnotationKind::Primary, None))];
    for related in &diagnostic.related {
        let place = Excerpt::of(&related.file, related.span, sources);
        let group = Group::with_title(Level::NOTE.secondary_title(visible(&related.message)));
        groups.push(group.element(place.element(AnnotationKind::Context, None)));
    }
    if let Some(help) = &diagnostic.help {
        let first = groups.remove(0).element(Level::HELP.message(visible(help)));
        groups.insert(0, first);
    }
    renderer.render(&groups)
}

/// The one source line that a place is on: whole files would make every report as long as they are.
struct Excerpt<'a> {
    file: &'a str,
    span: Option<Span>,
    /// The line, made safe to print, and the marked bytes in it.
    line: Option<(String, std::ops::Range<usize>)>,
}

impl<'a> Excerpt<'a> {
    fn of(file: &'a str, span: Option<Span>, sources: &[SourceFile]) -> Self {
        let text = sources.iter().find(|source| source.path == file).map(|source| source.text.as_str());
        let line = text.zip(span).and_then(|(text, span)| marked_line(text, span));
        Self { file, span, line }
    }

    fn element(self, kind: AnnotationKind, label: Option<String>) -> Element<'a> {
        match (self.line, self.span) {
            (Some((line, range)), Some(span)) => Snippet::source(line)
                .line_start(span.line as usize)
                .path(self.file)
                .fold(false)
                .annotation(kind.span(range).label(label))
                .into(),
            (None, Some(span)) => {
                Origin::path(self.file).line(span.line as usize).char_column(span.column as usize).into()
            }
            _ => Origin::path(self.file).into(),
        }
    }
}

/// The line of `span` and where in it the mark goes.
fn marked_line(text: &str, span: Span) -> Option<(String, std::ops::Range<usize>)> {
    let before = text.get(..span.offset)?;
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    let end = text[span.offset..].find('\n').map_or(text.len(), |at| span.offset + at);
    let line = text.get(start..end)?.trim_end_matches('\r');
    let from = (span.offset - start).min(line.len());
    let to = (from + span.len).min(line.len());
    // Control characters are replaced one for one, so that lengths stay but for their UTF-8 size.
    let safe = |part: &str| visible(part);
    let (head, mark, tail) = (safe(line.get(..from)?), safe(line.get(from..to)?), safe(line.get(to..)?));
    let range = head.len()..head.len() + mark.len();
    Some((head + &mark + &tail, range))
}

/// Text without control characters: a policy file must not steer the terminal.
pub(super) fn visible(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect()
}

/// A moment as people read it, in UTC, to the second.
pub(super) fn moment(at: WallTime) -> String {
    let told = i64::try_from(at.0).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    told.map_or_else(|| format!("{} ms", at.0), |at| at.strftime("%Y-%m-%d %H:%M:%S").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Vec<SourceFile> {
        vec![SourceFile { path: "a.yaml".to_owned(), text: text.to_owned() }]
    }

    #[test]
    fn a_diagnostic_shows_its_line_mark_and_remedy() {
        let text = "version: 1\nsite: shaa\n";
        let span = Span::in_text(text, 17, 4);
        let diagnostic = Diagnostic::error("unknown-site", "a.yaml", Some(span), "there is no site `shaa`")
            .help("did you mean `sha`?")
            .related("a.yaml", Some(Span::in_text(text, 0, 7)), "first given here");
        let shown = plain(&[diagnostic], &source(text));
        for part in [
            "error[unknown-site]: there is no site `shaa`",
            "a.yaml:2:7",
            "2 | site: shaa",
            "^^^^",
            "did you mean `sha`?",
            "note: first given here",
        ] {
            assert!(shown.contains(part), "{part} in\n{shown}");
        }
    }

    #[test]
    fn odd_places_and_bytes_are_shown_not_obeyed() {
        for (text, offset, len) in
            [("", 0, 0), ("a", 1, 5), ("a\r\nb", 9, 0), ("é\u{1b}[31mx", 2, 1), ("a\nb\n", 4, 0)]
        {
            let span = Span::in_text(text, offset, len);
            let diagnostic = Diagnostic::warning("c", "a.yaml", Some(span), "m");
            let shown = plain(std::slice::from_ref(&diagnostic), &source(text));
            assert!(shown.contains("warning[c]: m") && !shown.contains('\u{1b}'), "{shown}");
            assert!(plain(&[diagnostic], &[]).contains("a.yaml:"), "without the source the place is named");
        }
    }

    #[test]
    fn the_summary_counts_in_words() {
        let error = Diagnostic::error("c", "a", None, "m");
        let warning = Diagnostic::warning("c", "a", None, "m");
        assert_eq!(summary(&[], 1), "no mistakes in 1 file");
        assert_eq!(summary(&[error.clone(), warning, error], 7), "2 errors, 1 warning in 7 files");
    }
}
