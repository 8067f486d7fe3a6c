//! Where policies name runbooks: any `runbook` key of any file. Whether the files are there is for whoever may look.

use super::findings::Findings;
use super::tree::{self, Node, Value};
use crate::base::diagnostic::{SourceFile, Span};

/// A runbook as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// That names it.
    pub file: String,
    pub span: Span,
    /// A path below the policy folder, or a URL.
    pub runbook: String,
}

/// In the order in which they are written; of files that cannot be read, none.
pub fn runbooks(files: &[SourceFile]) -> Vec<Named> {
    let mut found = Vec::new();
    for file in files.iter().filter(|file| file.path.ends_with(".yaml") && file.text.contains("runbook")) {
        // What is wrong with it is told by who loads it.
        let mut findings = Findings::new(vec![file.path.clone()]);
        if let Some(root) = tree::parse(0, &file.text, &mut findings) {
            collect(&root, &file.path, &mut found);
        }
    }
    found
}

fn collect(node: &Node, file: &str, found: &mut Vec<Named>) {
    match &node.value {
        Value::List(items) => items.iter().for_each(|item| collect(item, file, found)),
        Value::Map(entries) => {
            for entry in entries {
                match &entry.value.value {
                    Value::Scalar { text, .. } if entry.key == "runbook" => found.push(Named {
                        file: file.to_owned(),
                        span: entry.value.place.span,
                        runbook: text.clone(),
                    }),
                    _ => collect(&entry.value, file, found),
                }
            }
        }
        Value::Null | Value::Scalar { .. } => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runbooks_are_found_wherever_they_are_named() {
        let file = |path: &str, text: &str| SourceFile { path: path.to_owned(), text: text.to_owned() };
        let files = [
            file("fleet.yaml", "version: 1\nsites:\n  tyo: { region: ea, runbook: runbooks/tyo.md }\n"),
            file("alerts.yaml", "rules:\n  a: { when: [{ x: 1 }], runbook: \"https://wiki.test/a\" }\n"),
            file("services/live.yaml", "runbook: [not, one]\n"),
            file("clients.yaml", "runbook: {broken"),
            file("zones/a.zone", "runbook: a.md\n"),
        ];
        let found = runbooks(&files);
        let told: Vec<(&str, u32, u32, &str)> = found
            .iter()
            .map(|it| (it.file.as_str(), it.span.line, it.span.column, it.runbook.as_str()))
            .collect();
        assert_eq!(
            told,
            [("fleet.yaml", 3, 31, "runbooks/tyo.md"), ("alerts.yaml", 2, 35, "https://wiki.test/a")]
        );
    }
}
