//! Any content of a file: what follows the first word changes nothing, and a sign changes no more than the sign.

use buoy_healthcheck::checker::file::{FileRule, parse_number};

pub(crate) fn check(content: &[u8]) {
    let number = parse_number(content);
    if number.is_some() && content.iter().any(|b| !b.is_ascii_whitespace()) {
        assert_eq!(parse_number(&[content, b" 7"].concat()), number);
    }
    if let Some(number) = number.filter(|_| content.first().is_some_and(u8::is_ascii_digit)) {
        let negative = parse_number(&[b"-", content].concat()).expect("a number");
        assert!(negative == -number || negative == i64::MIN);
    }
    // Any number times any weight has a meaning.
    for weight in [i32::MIN, -1, 0, 1, i32::MAX] {
        for reverse in [false, true] {
            FileRule { weight, reverse }.judge(content);
        }
    }
}
