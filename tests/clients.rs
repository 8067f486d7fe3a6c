//! Other people's programs as clients of the binary: a validating resolver with a cache by client subnet,
//! and tools that look for faults.
//!
//! Without a program its test says that it is skipped; with `RHUMB_REQUIRE_TOOLS` set it fails.

#[path = "clients/resolver.rs"]
mod resolver;
#[path = "clients/signed.rs"]
mod signed;
mod support;
#[path = "clients/tools.rs"]
mod tools;
