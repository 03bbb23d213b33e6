//! Stop strings in a stream of text.

/// What may be shown after a piece of text has come in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Emitted {
    /// Text that can be part of no stop string any more.
    pub text: String,
    /// Which stop string was found (its index), if one was. Nothing is emitted after that.
    pub stopped: Option<usize>,
}

/// Finds stop strings across the pieces of a stream and holds back text that may become one.
///
/// The stream ends at the stop string that is complete first; among those that end there, at the longest. So the outcome
/// does not depend on how the text was cut into pieces.
#[derive(Debug, Clone)]
pub struct StopMatcher {
    stops: Vec<String>,
    /// Longest stop string in bytes.
    longest: usize,
    held: String,
    stopped: Option<usize>,
}

impl StopMatcher {
    /// A matcher for these strings; empty ones would match everywhere and are left out.
    pub fn new(stops: &[String]) -> Self {
        let longest = stops.iter().map(String::len).max().unwrap_or(0);
        Self {
            stops: stops.to_vec(),
            longest,
            held: String::new(),
            stopped: None,
        }
    }

    /// Takes a piece of text and gives what may be shown.
    pub fn push(&mut self, piece: &str) -> Emitted {
        if self.stopped.is_some() {
            return Emitted {
                text: String::new(),
                stopped: self.stopped,
            };
        }
        self.held.push_str(piece);
        if let Some((start, index)) = self.first_match() {
            self.stopped = Some(index);
            self.held.truncate(start);
            return Emitted {
                text: std::mem::take(&mut self.held),
                stopped: self.stopped,
            };
        }
        let rest = self.held.split_off(self.held.len() - self.possible_start());
        Emitted {
            text: std::mem::replace(&mut self.held, rest),
            stopped: None,
        }
    }

    /// The stream has ended: what was held back is ordinary text.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// Which stop string ended the stream.
    pub fn stopped(&self) -> Option<usize> {
        self.stopped
    }

    /// Start and index of the match that ends first, the longest of these.
    fn first_match(&self) -> Option<(usize, usize)> {
        let stops = self
            .stops
            .iter()
            .enumerate()
            .filter(|(_, stop)| !stop.is_empty());
        let found = stops.filter_map(|(index, stop)| {
            self.held.find(stop).map(|at| (at + stop.len(), at, index))
        });
        found.min().map(|(_, start, index)| (start, index))
    }

    /// Length of the longest end of the held text that begins a stop string.
    fn possible_start(&self) -> usize {
        let held = self.held.as_bytes();
        let longest = held.len().min(self.longest.saturating_sub(1));
        let begins = |end: &[u8]| {
            self.stops
                .iter()
                .any(|stop| stop.len() > end.len() && stop.as_bytes().starts_with(end))
        };
        (1..=longest)
            .rev()
            .find(|&length| begins(&held[held.len() - length..]))
            .unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matcher(stops: &[&str]) -> StopMatcher {
        StopMatcher::new(
            &stops
                .iter()
                .map(|stop| stop.to_string())
                .collect::<Vec<_>>(),
        )
    }

    /// All that is emitted for these pieces, and which stop ended it.
    fn run(stops: &[String], pieces: &[String]) -> (String, Option<usize>) {
        let mut matcher = StopMatcher::new(stops);
        let mut text = String::new();
        for piece in pieces {
            text += &matcher.push(piece).text;
        }
        text += &matcher.finish();
        (text, matcher.stopped())
    }

    /// Character by character: the first end of any stop string, the longest there.
    fn naive(stops: &[String], text: &str) -> (String, Option<usize>) {
        for end in text.char_indices().map(|(at, c)| at + c.len_utf8()) {
            let matches = stops
                .iter()
                .enumerate()
                .filter(|(_, stop)| !stop.is_empty() && text[..end].ends_with(*stop));
            if let Some((index, stop)) =
                matches.min_by_key(|(index, stop)| (usize::MAX - stop.len(), *index))
            {
                return (text[..end - stop.len()].to_string(), Some(index));
            }
        }
        (text.to_string(), None)
    }

    #[test]
    fn holds_back_only_what_may_become_a_stop_string() {
        let mut stop = matcher(&["User:"]);
        assert_eq!(stop.push("Hello Us").text, "Hello ");
        assert_eq!(stop.push("age").text, "Usage");
        assert_eq!(stop.push("!\nUser").text, "!\n");
        assert_eq!(
            stop.push(": hi"),
            Emitted {
                text: String::new(),
                stopped: Some(0)
            }
        );
        assert_eq!(
            stop.push("more"),
            Emitted {
                text: String::new(),
                stopped: Some(0)
            }
        );
        assert_eq!(stop.finish(), "");
    }

    #[test]
    fn finish_gives_back_what_was_held() {
        let mut stop = matcher(&["###"]);
        assert_eq!(stop.push("a##").text, "a");
        assert_eq!(stop.finish(), "##");
    }

    #[test]
    fn without_stop_strings_everything_passes() {
        assert_eq!(matcher(&[]).push("text").text, "text");
        assert_eq!(
            matcher(&[""]).push("text"),
            Emitted {
                text: "text".into(),
                stopped: None
            }
        );
    }

    proptest! {
        #[test]
        fn agrees_with_the_naive_search_however_the_text_is_cut(
            stops in prop::collection::vec("[abé]{0,4}", 0..4),
            pieces in prop::collection::vec("[abcé]{0,3}", 0..12),
        ) {
            prop_assert_eq!(run(&stops, &pieces), naive(&stops, &pieces.concat()));
        }

        #[test]
        fn never_shows_the_beginning_of_a_stop_string_too_early(
            stops in prop::collection::vec("[ab]{1,4}", 1..4),
            pieces in prop::collection::vec("[ab]{0,3}", 0..12),
        ) {
            let mut matcher = StopMatcher::new(&stops);
            let (end, _) = naive(&stops, &pieces.concat());
            let mut shown = String::new();
            for piece in &pieces {
                shown += &matcher.push(piece).text;
                prop_assert!(end.starts_with(&shown));
            }
        }
    }
}
