//! Generated code as text, for people: `inferno expand` and snapshots.

use proc_macro2::TokenStream;

/// Lines up to this width are put together again where the formatter breaks earlier.
const WIDTH: usize = 110;

/// An `if` with an `else` up to this width stays on one line.
const IF_WIDTH: usize = 80;

/// Formats items, with a blank line between them.
///
/// # Errors
/// If the tokens are no items of Rust.
pub fn pretty(tokens: TokenStream) -> Result<String, syn::Error> {
    let text = prettyplease::unparse(&syn::parse2::<syn::File>(tokens)?);
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    refill_imports(&mut lines);
    while join(&mut lines) {}
    Ok(space_out(&lines))
}

/// Names of an import list, as many to a line as fit.
fn refill_imports(lines: &mut Vec<String>) {
    let mut at = 0;
    while let Some(open) = lines.get(at) {
        at += 1;
        if !open.trim_start().starts_with("use ") || !open.ends_with('{') {
            continue;
        }
        let margin = " ".repeat(indent(open) + 4);
        let rest = lines.get(at..).unwrap_or_default();
        let length = rest
            .iter()
            .take_while(|line| line.starts_with(&margin))
            .count();
        let names: Vec<String> = rest
            .iter()
            .take(length)
            .flat_map(|line| line.split_whitespace())
            .map(str::to_owned)
            .collect();
        let mut filled = vec![margin.clone()];
        for name in names {
            let full = filled
                .last()
                .is_none_or(|line| line.len() + 1 + name.len() > WIDTH);
            if full {
                filled.push(margin.clone());
            }
            if let Some(line) = filled.last_mut() {
                if line.len() > margin.len() {
                    line.push(' ');
                }
                line.push_str(&name);
            }
        }
        lines.splice(at..at + length, filled);
    }
}

/// Joins what fits into a line; whether anything did.
fn join(lines: &mut Vec<String>) -> bool {
    let mut changed = false;
    let mut at = 0;
    while at < lines.len() {
        let joined = joined_list(lines, at)
            .or_else(|| joined_chain(lines, at))
            .or_else(|| joined_if(lines, at));
        let joined = joined
            .map(|(line, end)| (vec![line], end))
            .or_else(|| overflowing(lines, at));
        match joined {
            Some((joined, end)) => {
                lines.splice(at..end, joined);
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

/// A short `if` with an `else` as one line, where it is a value.
fn joined_if(lines: &[String], at: usize) -> Option<(String, usize)> {
    let [first, yes, other, no, end] = lines.get(at..at + 5)? else {
        return None;
    };
    let start = first.find("if ")?;
    let inner =
        |line: &str| indent(line) == indent(first) + 4 && !line.ends_with([';', '{', '(', '|']);
    let fits = first.ends_with('{') && other.trim() == "} else {" && end.trim().starts_with('}');
    let before = first.get(..start)?;
    let value =
        before.trim().is_empty() || before.ends_with(['(', ' ']) && !before.ends_with("else ");
    if !fits || !value || before.trim_start().starts_with("//") || !inner(yes) || !inner(no) {
        return None;
    }
    let line = format!(
        "{first} {} }} else {{ {} {}",
        yes.trim(),
        no.trim(),
        end.trim()
    );
    let statement = before.trim().is_empty() && end.trim() == "}";
    let width = line.chars().count();
    (!statement && width - start <= IF_WIDTH && width <= WIDTH).then_some((line, at + 5))
}

/// A call whose last argument is a block, with that block's first line beside the others.
fn overflowing(lines: &[String], at: usize) -> Option<(Vec<String>, usize)> {
    let open = lines
        .get(at)
        .filter(|line| line.ends_with('(') && !line.trim_start().starts_with("//"))?;
    let depth = indent(open) + 4;
    let length = lines
        .get(at + 1..)?
        .iter()
        .take_while(|line| indent(line) >= depth)
        .count();
    let end = lines
        .get(at + 1 + length)
        .filter(|line| line.trim_start().starts_with(')'))?;
    let inner = lines.get(at + 1..at + 1 + length)?;
    let simple = inner.iter().take_while(|line| {
        indent(line) == depth && line.ends_with(',') && !line.trim().starts_with('}')
    });
    let simple = simple.count();
    let (before, block) = (inner.get(..simple)?, inner.get(simple..)?);
    let (first, rest) = block.split_first()?;
    let (last, body) = rest.split_last()?;
    let opens = indent(first) == depth && first.ends_with(['{', '[']);
    let one = body.iter().all(|line| {
        indent(line) > depth || line.trim() == "} else {" || line.trim().starts_with("} else if")
    });
    let closes = indent(last) == depth && last.trim().starts_with(['}', ']']);
    if !opens || !one || !closes {
        return None;
    }
    let before: String = before
        .iter()
        .map(|line| format!("{} ", line.trim()))
        .collect();
    let head = format!("{open}{before}{}", first.trim());
    if head.chars().count() > WIDTH {
        return None;
    }
    let last = last.trim();
    let tail = format!(
        "{}{}{}",
        " ".repeat(depth - 4),
        last.strip_suffix(',').unwrap_or(last),
        end.trim()
    );
    let body = body
        .iter()
        .map(|line| line.get(4..).unwrap_or(line).to_owned());
    Some((
        std::iter::once(head).chain(body).chain([tail]).collect(),
        at + length + 2,
    ))
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
