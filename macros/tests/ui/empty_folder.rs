inferno_macros::models!("specs/empty");

fn main() {}
