inferno_macros::models!("specs/expressions");

fn main() {}
