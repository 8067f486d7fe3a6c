//! An error and its causes as one line, for where errors are handled: the log, the status, the
//! command line.

use std::error::Error;

/// The message of `error` and of each cause below it. A cause that a message above it already
/// contains is not repeated, because some messages put it before their remedy.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let message = next.to_string();
        if !text.contains(&message) {
            text.push_str(": ");
            text.push_str(&message);
        }
        cause = next.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{what}")]
    struct Layer {
        what: &'static str,
        source: Option<Box<Layer>>,
    }

    #[test]
    fn every_cause_is_told_once() {
        for (layers, told) in [
            (&["cannot open", "disk", "is gone"][..], "cannot open: disk: is gone"),
            (&["cannot open: is gone; try another", "is gone"], "cannot open: is gone; try another"),
            (&["alone"], "alone"),
        ] {
            let wrap = |source, what: &&'static str| Some(Box::new(Layer { what, source }));
            let error = layers.iter().rev().fold(None, wrap).expect("a layer");
            assert_eq!(chain(&*error), told);
        }
    }
}
