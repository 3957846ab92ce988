//! Is a licence expression satisfied by a list of allowed licences?

use std::collections::VecDeque;

/// Whether the allowed licences permit use; an error names what could not be parsed.
///
/// Reads SPDX expressions, and the older form in which a slash means `OR`.
pub(crate) fn satisfied(expression: &str, allowed: &[String]) -> Result<bool, String> {
    let spaced = expression
        .replace('(', " ( ")
        .replace(')', " ) ")
        .replace('/', " OR ");
    let mut words: VecDeque<&str> = spaced.split_whitespace().collect();
    let result = either(&mut words, allowed)?;
    match words.front() {
        None => Ok(result),
        Some(word) => Err(format!("unexpected \"{word}\" in \"{expression}\"")),
    }
}

fn either(words: &mut VecDeque<&str>, allowed: &[String]) -> Result<bool, String> {
    let mut result = both(words, allowed)?;
    while words.front() == Some(&"OR") {
        words.pop_front();
        result |= both(words, allowed)?;
    }
    Ok(result)
}

fn both(words: &mut VecDeque<&str>, allowed: &[String]) -> Result<bool, String> {
    let mut result = one(words, allowed)?;
    while words.front() == Some(&"AND") {
        words.pop_front();
        result &= one(words, allowed)?;
    }
    Ok(result)
}

fn one(words: &mut VecDeque<&str>, allowed: &[String]) -> Result<bool, String> {
    match words.pop_front() {
        None | Some("OR" | "AND" | "WITH" | ")") => Err("a licence is missing in the expression".to_owned()),
        Some("(") => {
            let result = either(words, allowed)?;
            if words.pop_front() == Some(")") {
                Ok(result)
            } else {
                Err("a bracket is not closed".to_owned())
            }
        }
        Some(licence) => {
            let mut name = licence.to_owned();
            if words.front() == Some(&"WITH") {
                words.pop_front();
                let exception = words.pop_front().ok_or("an exception is missing after WITH")?;
                name = format!("{licence} WITH {exception}");
            }
            Ok(allowed.contains(&name))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(expression: &str) -> Result<bool, String> {
        let allowed = [
            "MIT",
            "Apache-2.0",
            "BSD-3-Clause",
            "Apache-2.0 WITH LLVM-exception",
        ];
        satisfied(expression, &allowed.map(str::to_owned))
    }

    #[test]
    fn one_of_several_is_enough_and_all_of_several_are_needed() {
        assert_eq!(check("MIT"), Ok(true));
        assert_eq!(check("GPL-3.0"), Ok(false));
        assert_eq!(check("Unlicense/MIT"), Ok(true));
        assert_eq!(check("GPL-3.0 OR MIT"), Ok(true));
        assert_eq!(check("GPL-3.0 AND MIT"), Ok(false));
        assert_eq!(check("(MIT OR GPL-3.0) AND BSD-3-Clause"), Ok(true));
        assert_eq!(check("MIT OR GPL-3.0 AND BSL-1.0"), Ok(true));
        assert_eq!(check("(MIT OR GPL-3.0) AND BSL-1.0"), Ok(false));
        assert_eq!(check("Apache-2.0 WITH LLVM-exception"), Ok(true));
        assert_eq!(check("MIT WITH Odd-exception"), Ok(false));
    }

    #[test]
    fn nonsense_is_no_licence() {
        for expression in [
            "",
            "MIT OR",
            "(MIT",
            "MIT Apache-2.0",
            "MIT )",
            "AND MIT",
            "MIT WITH",
        ] {
            assert!(check(expression).is_err(), "{expression}");
        }
    }
}
