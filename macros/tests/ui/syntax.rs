inferno_macros::models!("specs/syntax");

fn main() {}
