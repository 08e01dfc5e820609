//! Any line of an agent: no word of it counts twice, blanks and commas are the same, and percentages have a bound.

use buoy_healthcheck::checker::agent::parse_line;

pub(crate) fn check(line: &[u8]) {
    let says = parse_line(line);
    assert_eq!(parse_line(&line.to_ascii_uppercase()).is_some(), says.is_some());
    let Some(says) = says else { return };
    assert!(says.weight.is_none_or(|percent| percent <= 25_600));
    assert!(says.text.as_ref().is_none_or(|text| text.chars().count() <= 128 && !text.contains('\n')));
    let words = line.split(|b| *b == b'#').next().unwrap_or_default();
    let spaced: Vec<u8> = words.iter().map(|b| if *b == b',' { b' ' } else { *b }).collect();
    let again = parse_line(&[b"  ", spaced.as_slice(), b" , "].concat()).expect("the same words");
    assert_eq!((again.life, again.weight), (says.life, says.weight));
    assert_eq!(again.administrative, says.administrative);
}
