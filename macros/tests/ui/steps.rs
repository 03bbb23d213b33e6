inferno_macros::models!("specs/steps");

fn main() {}
