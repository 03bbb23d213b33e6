inferno_macros::models!("specs/set");

fn main() {}
