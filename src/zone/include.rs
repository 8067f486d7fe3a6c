//! Where `$INCLUDE` finds its texts, and how much of them one zone may take.
//!
//! A path is relative to the folder of the file that includes it and never leads out of the folder
//! of zones, so that a zone file copied from elsewhere cannot show what else is on the disk. Reading
//! is the caller's: whoever loads a zone hands in a function from path to text.

use std::sync::Arc;

/// Includes within includes.
pub(super) const MAX_DEPTH: usize = 8;
/// Octets of text that includes and `$GENERATE` may add to a zone.
pub(super) const MAX_ADDED: usize = 32 << 20;
/// Records that `$GENERATE` may add to a zone: every host of two /16 networks.
pub(super) const MAX_GENERATED: usize = 1 << 17;
/// Includes of a zone, the same text each time counted again.
pub(super) const MAX_INCLUDES: usize = 1_024;

/// Gives the text of a path, or says in a sentence why it cannot.
pub type Includes<'a> = &'a dyn Fn(&str) -> Result<Arc<str>, String>;

/// The path that `to` means in the file `from`; `None` if it leads out of `folder`, which is empty or
/// ends with a slash.
pub(super) fn resolve(folder: &str, from: &str, to: &str) -> Option<String> {
    let inside = from.strip_prefix(folder)?;
    let mut parts: Vec<&str> = inside.split('/').collect();
    parts.pop();
    if to.starts_with('/') {
        return None;
    }
    for part in to.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            name => parts.push(name),
        }
    }
    Some(format!("{folder}{}", parts.join("/")))
}

/// What is left of the bounds of one zone.
#[derive(Debug)]
pub(super) struct Budget {
    octets: usize,
    generated: usize,
    includes: usize,
}

impl Budget {
    pub fn new() -> Self {
        Self { octets: MAX_ADDED, generated: MAX_GENERATED, includes: MAX_INCLUDES }
    }

    /// Takes one include of `octets` octets; `None` if there is no room for it.
    pub fn take_include(&mut self, octets: usize) -> Option<()> {
        self.includes = self.includes.checked_sub(1)?;
        self.octets = self.octets.checked_sub(octets)?;
        Some(())
    }

    /// Takes one generated record of `octets` octets of text.
    pub fn take_generated(&mut self, octets: usize) -> Option<()> {
        self.generated = self.generated.checked_sub(1)?;
        self.octets = self.octets.checked_sub(octets)?;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_in_the_folder() {
        for (folder, from, to, path) in [
            ("zones/", "zones/a.zone", "b.inc", Some("zones/b.inc")),
            ("zones/", "zones/sub/a.zone", "./x/../b.inc", Some("zones/sub/b.inc")),
            ("zones/", "zones/sub/a.zone", "../b.inc", Some("zones/b.inc")),
            ("zones/", "zones/a.zone", "../fleet.yaml", None),
            ("zones/", "zones/a.zone", "/etc/passwd", None),
            ("", "a.zone", "b.inc", Some("b.inc")),
            ("/x/", "/x/a.zone", "b/c.inc", Some("/x/b/c.inc")),
            ("/x/", "/x/a.zone", "b/../../c.inc", None),
        ] {
            assert_eq!(resolve(folder, from, to).as_deref(), path, "{from} {to}");
        }
    }

    #[test]
    fn a_budget_ends() {
        let mut budget = Budget { octets: 5, generated: 2, includes: 1 };
        assert_eq!((budget.take_generated(4), budget.take_include(2)), (Some(()), None));
        assert_eq!((budget.take_include(0), budget.take_generated(1)), (None, Some(())));
        assert_eq!(budget.take_generated(0), None);
    }
}
