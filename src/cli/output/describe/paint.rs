//! What `describe` wrote, with the words painted that tell how things are.

use crate::cli::colours::{Colours, of_status};

/// What stands before such a word.
const KEYS: [&str; 5] = ["Last State", "Ready", "Reason", "State", "Status"];

/// `text` in colours, if there are any. The layout stays.
pub fn painted(text: &str, colours: Colours) -> String {
    if colours == Colours::Off {
        return text.to_owned();
    }
    let mut section = "";
    let mut out = String::with_capacity(text.len() * 2);
    for line in text.split_inclusive('\n') {
        if !line.starts_with(' ') {
            section = line.trim_end();
        }
        let (before, word, after) = parts(line, section);
        out.push_str(before);
        out.push_str(&colours.paint(of_status(word), word));
        out.push_str(after);
    }
    out
}

/// A line around the word that tells something; none in most lines.
fn parts<'a>(line: &'a str, section: &str) -> (&'a str, &'a str, &'a str) {
    let bare = line.trim();
    let word = match bare.split_once(':') {
        _ if section == "Conditions:" && line.starts_with(' ') => bare.rsplit(' ').next(),
        _ if section == "Events:" && line.starts_with(' ') => bare.split(' ').next(),
        Some((key, value)) if KEYS.contains(&key) => value.trim_start().split(' ').next(),
        _ => None,
    };
    let found = word.filter(|word| !word.is_empty()).and_then(|word| {
        let at = if section == "Events:" { line.find(word) } else { line.rfind(word) }?;
        let (before, rest) = line.split_at_checked(at)?;
        let (word, after) = rest.split_at_checked(word.len())?;
        Some((before, word, after))
    });
    found.unwrap_or((line, "", ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_tell_something_are_painted() {
        let text = "Name:    Running\nStatus:  Terminating (lasts 5s)\n    State:    Waiting\n      Reason: \
                    CrashLoopBackOff\nConditions:\n  Type    Status\n  Ready   False \nEvents:\n  \
                    Warning  BackOff  5s\n  Normal   Pulled   5s\n";
        let marked = painted(text, Colours::On).replace("\u{1b}[0m", ">");
        let marked = ["1", "2", "3"].iter().fold(marked, |text, tone| {
            text.replace(&format!("\u{1b}[3{tone}m"), &format!("<{tone} "))
        });
        let expected = "Name:    Running\nStatus:  <3 Terminating> (lasts 5s)\n    State:    <3 Waiting>\n      \
                        Reason: <1 CrashLoopBackOff>\nConditions:\n  Type    Status\n  Ready   \
                        <3 False> \nEvents:\n  <3 Warning>  BackOff  5s\n  Normal   Pulled   5s\n";
        assert_eq!(marked, expected);
        assert_eq!(painted(text, Colours::Off), text);
    }
}
