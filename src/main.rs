//! The `rhumb` binary: hands the command line to [`rhumb::cli`].

fn main() {}
