//! The command `inferno`.
fn main() {}
