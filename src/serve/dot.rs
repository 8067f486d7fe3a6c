//! Placeholder: filled by the commit that builds it.
