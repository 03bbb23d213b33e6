inferno_macros::models!("specs/keys");

fn main() {}
