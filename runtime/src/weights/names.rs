//! Patterns of names, and names that are alike.

/// Whether a name matches a pattern of a spec's `ignore`: `*` is any text, `{i}` any number, `{num_layers}` that number,
/// all else itself.
pub(super) fn matches(pattern: &str, name: &str, layers: usize) -> bool {
    let pattern = pattern.replace("{num_layers}", &layers.to_string());
    let tokens = tokens(&pattern);
    // Which numbers of leading tokens match the text read so far; linear in the name for any pattern.
    let mut reached = vec![false; tokens.len() + 1];
    reached[0] = true;
    skip_stars(&tokens, &mut reached);
    for byte in name.bytes() {
        let mut next = vec![false; tokens.len() + 1];
        for (i, token) in tokens.iter().enumerate().filter(|(i, _)| reached[*i]) {
            match token {
                Token::Byte(expected) if *expected == byte => next[i + 1] = true,
                Token::Star => next[i] = true,
                Token::Digit if byte.is_ascii_digit() => next[i + 1] = true,
                Token::MoreDigits if byte.is_ascii_digit() => next[i] = true,
                _ => {}
            }
        }
        skip_stars(&tokens, &mut next);
        reached = next;
    }
    reached[tokens.len()]
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Byte(u8),
    Star,
    Digit,
    MoreDigits,
}

fn tokens(pattern: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    for (i, part) in pattern.split("{i}").enumerate() {
        if i > 0 {
            tokens.extend([Token::Digit, Token::MoreDigits]);
        }
        tokens.extend(part.bytes().map(|byte| {
            if byte == b'*' {
                Token::Star
            } else {
                Token::Byte(byte)
            }
        }));
    }
    tokens
}

/// Stars and further digits may also match nothing.
fn skip_stars(tokens: &[Token], reached: &mut [bool]) {
    for (i, token) in tokens.iter().enumerate() {
        if reached[i] && matches!(token, Token::Star | Token::MoreDigits) {
            reached[i + 1] = true;
        }
    }
}

/// The candidate most like a name, if one is like it at all.
pub(super) fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<String> {
    // A hostile file may have a hundred thousand tensors with long names.
    const CANDIDATES: usize = 3000;
    const LENGTH: usize = 200;
    let name: String = name.chars().take(LENGTH).collect();
    let candidates = candidates
        .take(CANDIDATES)
        .filter(|candidate| candidate.len() <= LENGTH);
    let (distance, best) = candidates
        .map(|candidate| (distance(&name, candidate), candidate))
        .min()?;
    (distance <= name.len() / 3).then(|| best.to_owned())
}

/// Levenshtein's distance in bytes.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_names() {
        for (pattern, name, expected) in [
            ("model.mtp_*", "model.mtp_head.weight", true),
            ("model.mtp_*", "x.model.mtp_head", false),
            ("h.{i}.attn.bias", "h.12.attn.bias", true),
            ("h.{i}.attn.bias", "h..attn.bias", false),
            ("h.{i}.attn.bias", "h.x.attn.bias", false),
            ("model.layers.{num_layers}.*", "model.layers.4.a.b", true),
            ("model.layers.{num_layers}.*", "model.layers.40.a", false),
            (
                "layers.{i}.self_attn.*_decay",
                "layers.3.self_attn.a.b_decay",
                true,
            ),
            ("*", "", true),
            ("a*b*c", "abbbcbc", true),
            ("a*b*c", "abbbcb", false),
            ("a.b", "axb", false),
        ] {
            assert_eq!(matches(pattern, name, 4), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn many_stars_take_no_time() {
        assert!(!matches(
            &"*a".repeat(50),
            &"a".repeat(20_000).replace("aaaaaaaaaa", "b"),
            1
        ));
    }

    #[test]
    fn the_nearest_name_is_like_it() {
        let names = ["model.layers.0.mlp.up.weight", "lm_head.weight"];
        let nearest = |name| nearest(name, names.into_iter());
        assert_eq!(
            nearest("model.layers.0.mlp.up_proj.weight").as_deref(),
            Some(names[0])
        );
        assert_eq!(nearest("visual.patch_embed"), None);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
