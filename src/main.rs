//! The `rhumb` binary: hands the command line to [`rhumb::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    rhumb::cli::run()
}
