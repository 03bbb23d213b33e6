use inferno_macros_core::*;
fn main() {
    let folder = std::env::args().nth(1).unwrap();
    let only = std::env::args().nth(2);
    let files = std::fs::read_dir(&folder).unwrap().map(|e| e.unwrap()).filter(|e| e.path().extension().is_some_and(|x| x == "toml"));
    let set = SpecSet::new(files.map(|e| (e.file_name().into_string().unwrap(), std::fs::read_to_string(e.path()).unwrap())));
    let text = match only {
        Some(stem) => check_one(&set, &stem).map(|arch| pretty(expand_one(&arch)).unwrap()),
        None => expand(&set).map(|tokens| pretty(tokens).unwrap_or_else(|e| panic!("{e}"))),
    };
    match text {
        Ok(text) => println!("{text}"),
        Err(errors) => for e in errors { println!("{e:?}") },
    }
}
