//! What scenarios cannot say: load, several nodes, the round trips themselves.
