//! Generated code as text, for people: `inferno expand` and snapshots.

use proc_macro2::TokenStream;

/// Lines up to this width are put together again where the formatter breaks earlier.
const WIDTH: usize = 108;

/// Formats items, with a blank line between them.
///
/// # Errors
/// If the tokens are no items of Rust.
pub fn pretty(tokens: TokenStream) -> Result<String, syn::Error> {
    let text = prettyplease::unparse(&syn::parse2::<syn::File>(tokens)?);
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    while join(&mut lines) {}
    Ok(space_out(&lines))
}

/// Joins what fits into a line; whether anything did.
fn join(lines: &mut Vec<String>) -> bool {
    let mut changed = false;
    let mut at = 0;
    while at < lines.len() {
        match joined_list(lines, at).or_else(|| joined_chain(lines, at)) {
            Some((line, end)) => {
                lines.splice(at..end, [line]);
                changed = true;
            }
            None => at += 1,
        }
    }
    changed
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// `f(` to `)` with an argument a line, and likewise `[` and the `{` of a struct literal, as one line.
fn joined_list(lines: &[String], at: usize) -> Option<(String, usize)> {
    let open = lines.get(at)?;
    if open.trim_start().starts_with("//") {
        return None;
    }
    let (close, space) = match open.chars().last()? {
        '(' => (')', ""),
        '[' => (']', ""),
        '{' if is_struct_literal(open) => ('}', " "),
        _ => return None,
    };
    let inner = lines
        .get(at + 1..)?
        .iter()
        .take_while(|line| indent(line) == indent(open) + 4);
    let inner: Vec<_> = inner.map(|line| line.trim()).collect();
    let end = lines
        .get(at + 1 + inner.len())
        .filter(|line| indent(line) == indent(open))?;
    let plain = |line: &&str| {
        !line.starts_with("//")
            && !line.starts_with('.')
            && !line.ends_with(['{', '(', '[', ';', '|'])
    };
    let (last, before) = inner.split_last()?;
    if !inner.iter().all(plain)
        || !before.iter().all(|line| line.ends_with(','))
        || !end.trim().starts_with(close)
    {
        return None;
    }
    let last = last.strip_suffix(',').unwrap_or(last);
    let list = before
        .iter()
        .map(|line| format!("{line} "))
        .collect::<String>()
        + last;
    let line = format!("{open}{space}{list}{space}{}", end.trim());
    (line.chars().count() <= WIDTH).then_some((line, at + inner.len() + 2))
}

/// Whether the `{` that ends a line begins the fields of a value.
fn is_struct_literal(line: &str) -> bool {
    const BLOCKS: [&str; 11] = [
        "match ", "if ", "else", "struct ", "enum ", "impl", "fn ", "for ", "mod ", "=>", "trait ",
    ];
    line.trim_end_matches([' ', '{'])
        .ends_with(char::is_alphanumeric)
        && !BLOCKS.iter().any(|block| line.contains(block))
        && !line.trim_start().starts_with("pub ")
        && line.contains(|c: char| c.is_uppercase())
}

/// A chain of method calls as one line.
fn joined_chain(lines: &[String], at: usize) -> Option<(String, usize)> {
    let first = lines.get(at)?;
    if first.trim_start().starts_with(['/', '.']) || first.ends_with([';', '{', '}', ',', '(', '['])
    {
        return None;
    }
    let links = lines
        .get(at + 1..)?
        .iter()
        .take_while(|line| line.trim_start().starts_with('.'));
    let links: Vec<_> = links
        .filter(|line| indent(line) == indent(first) + 4)
        .collect();
    if links.is_empty()
        || links
            .iter()
            .any(|link| link.ends_with(['(', '[', '{', '|']))
    {
        return None;
    }
    let line = links
        .iter()
        .fold(first.clone(), |line, link| line + link.trim());
    (line.chars().count() <= WIDTH).then_some((line, at + 1 + links.len()))
}

/// Blank lines between items; constants without docs stay together.
fn space_out(lines: &[String]) -> String {
    let mut spaced = String::new();
    let mut before = "";
    for line in lines {
        if starts_item(line) && ends_item(before) && !together(before, line) {
            spaced.push('\n');
        }
        spaced.push_str(line);
        spaced.push('\n');
        before = line;
    }
    spaced
}

fn starts_item(line: &str) -> bool {
    const STARTS: [&str; 9] = [
        "///", "#[", "pub ", "fn ", "impl", "struct ", "enum ", "const ", "mod ",
    ];
    STARTS
        .iter()
        .any(|start| line.trim_start().starts_with(start))
}

fn ends_item(line: &str) -> bool {
    line.ends_with('}') || line.ends_with(';')
}

fn together(before: &str, line: &str) -> bool {
    // A constant may take several lines; its last one is `);`.
    let constant = |line: &str| {
        line.trim_start().starts_with("const ") || line.trim() == ");" || line.trim() == "];"
    };
    constant(before) && line.trim_start().starts_with("const ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use quote::quote;

    #[test]
    fn items_apart_and_lists_together() {
        let text = pretty(quote! {
            const A: u8 = 1;
            const B: u8 = 2;
            fn f() -> Result<Heads> {
                let heads = Heads::new(cfg.num_heads()?, cfg.num_kv_heads()?, cfg.head_dim()?, cfg.head_dim()?)?;
                if heads { first_branch_with_a_long_name(heads) } else { second_branch_with_a_long_name(heads) }
            }
            fn g() {}
        });
        insta::assert_snapshot!(text.unwrap(), @r"
        const A: u8 = 1;
        const B: u8 = 2;

        fn f() -> Result<Heads> {
            let heads = Heads::new(cfg.num_heads()?, cfg.num_kv_heads()?, cfg.head_dim()?, cfg.head_dim()?)?;
            if heads {
                first_branch_with_a_long_name(heads)
            } else {
                second_branch_with_a_long_name(heads)
            }
        }

        fn g() {}
        ");
    }
}
