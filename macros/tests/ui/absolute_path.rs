inferno_macros::models!("/specs");

fn main() {}
