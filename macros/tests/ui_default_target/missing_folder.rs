inferno_macros::models!("specs/nowhere");

fn main() {}
