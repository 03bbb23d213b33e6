inferno_macros::models!("specs/names");

fn main() {}
