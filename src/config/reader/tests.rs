//! One test per rule of the reader.

use std::path::Path;

use super::*;
use crate::config::finding::Severity;
use crate::config::tree::NodeId;

struct Read {
    tree: Tree,
    sources: Sources,
    findings: Findings,
}

fn read_file_text(path: &Path, text: &str, id: &str) -> Read {
    let mut sources = Sources::default();
    let mut findings = Findings::default();
    let file = sources.add(path, text.to_owned());
    let manner = Manner { config_id: id.to_owned(), all_include_checks: false };
    let tree = read(file, manner, &mut sources, &mut findings);
    Read { tree, sources, findings }
}

fn read_text(text: &str) -> Read {
    read_file_text(Path::new("/nowhere/test.conf"), text, "here")
}

impl Read {
    /// The tree in one line: words, blocks in parentheses.
    fn shape(&self) -> String {
        self.shapes(self.tree.roots())
    }

    fn shapes(&self, nodes: impl Iterator<Item = NodeId>) -> String {
        let shape = |id: NodeId| {
            let words: Vec<&str> = self.tree.words(id).iter().map(|w| self.sources.text(*w)).collect();
            let words = words.join(" ");
            match self.tree.node(id).is_block {
                true => format!("{words} ({})", self.shapes(self.tree.children(id))),
                false => words,
            }
        };
        nodes.map(shape).collect::<Vec<_>>().join("; ")
    }

    fn codes(&self) -> Vec<Code> {
        self.findings.iter().map(|f| f.code).collect()
    }

    /// Line and column of every word of the first root.
    fn places(&self) -> Vec<(usize, usize)> {
        let first = self.tree.roots().next().expect("a root");
        let place = |w: &Word| self.sources.position(self.sources.span(*w)).expect("a place");
        self.tree.words(first).iter().map(|w| (place(w).line, place(w).column)).collect()
    }
}

#[track_caller]
fn reads_as(text: &str, shape: &str) {
    let read = read_text(text);
    assert_eq!(read.shape(), shape);
    assert_eq!(read.codes(), [], "{text}");
}

#[test]
fn words_are_separated_by_blanks_and_carriage_returns() {
    reads_as("a  b\tc\x0cd\r\n", "a b c d");
}

#[test]
fn comments_start_anywhere_even_glued_to_a_word() {
    reads_as("# all\n! all\npriority 50#x\nweight 3!y\n", "priority 50; weight 3");
}

#[test]
fn comment_signs_are_literal_in_quotes_and_behind_a_backslash() {
    reads_as("auth_pass \"a#b!c\"\nauth_pass a\\#b\\!c # gone\n", "auth_pass a#b!c; auth_pass a#b!c");
}

#[test]
fn single_quotes_are_ordinary_characters_to_ordinary_words() {
    reads_as("priority '50'\n", "priority '50'");
}

#[test]
fn a_quote_ends_a_word_in_progress() {
    reads_as("x a\"b c\"d\n", "x a b c d");
}

#[test]
fn a_quoted_word_may_hold_braces() {
    reads_as("a \"{ }\"\n", "a { }");
}

#[test]
fn an_unterminated_quote_ends_with_its_line_and_is_reported() {
    let read = read_text("a \"b c\nd e\n");
    assert_eq!(read.shape(), "a b c; d e");
    assert_eq!(read.codes(), [Code::UnterminatedQuote]);
}

#[test]
fn an_opening_brace_may_stand_behind_below_or_glued_to_its_word() {
    reads_as("a {\nb\n}\nc\n{\nd\n}\ne{\nf\n}\n", "a (b); c (d); e (f)");
}

#[test]
fn a_block_may_stand_on_one_line() {
    reads_as("group { A B }\nx { y }\n", "group (A B); x (y)");
}

#[test]
fn two_blocks_opened_on_one_line_are_read_and_reported() {
    let read = read_text("a { b { c } }\nd\n");
    assert_eq!(read.shape(), "a (b (c)); d");
    assert_eq!(read.codes(), [Code::Brace]);
}

#[test]
fn a_stray_closing_brace_is_reported_and_ignored() {
    let read = read_text("a\n}\nb {\n}\n");
    assert_eq!(read.shape(), "a; b ()");
    assert_eq!(read.codes(), [Code::Brace]);
}

#[test]
fn a_brace_that_belongs_to_nothing_hides_its_block() {
    let read = read_text("{\na\n}\nb\n");
    assert!(read.tree.node(0).ignored);
    assert_eq!(read.codes(), [Code::Brace]);
}

#[test]
fn every_block_left_open_is_an_error_at_its_name() {
    let read = read_text("a {\n  b {\n c\n");
    assert_eq!(read.shape(), "a (b (c))");
    assert_eq!(read.codes(), [Code::Unclosed, Code::Unclosed]);
    assert_eq!(read.findings.worst(), Some(Severity::Error));
}

#[test]
fn overlong_lines_and_lines_with_a_nul_are_reported_and_ignored() {
    let long = format!("a {}\nb\nc \0\n", "x".repeat(MAX_LINE));
    let read = read_text(&long);
    assert_eq!(read.shape(), "b");
    assert_eq!(read.codes(), [Code::LineTooLong, Code::NulByte]);
}

#[test]
fn conditions_keep_lines_for_this_id_only() {
    reads_as("@here a\n@there b\n@^here c\n@^there d\n@here\n@here   e {\n@here }\n", "a; d; e ()");
}

#[test]
fn a_file_with_lines_for_others_only_is_worth_a_word() {
    let path = Path::new("test.conf");
    assert_eq!(read_file_text(path, "@one a\n@two b\n", "here").codes(), [Code::Condition]);
    assert_eq!(read_file_text(path, "@one a\n@here b\n", "here").codes(), []);
    assert_eq!(read_file_text(path, "@^here a\n", "here").codes(), []);
}

#[test]
fn conditions_work_on_definitions_and_braces() {
    reads_as("@here $P=50\n@there $P=60\npriority $P\n", "priority 50");
}

#[test]
fn a_definition_is_expanded_lazily_and_recursively() {
    reads_as("$A=$B\n$B=1\nx $A\n$B=2\nx $A\n", "x 1; x 2");
}

#[test]
fn a_bare_reference_needs_a_blank_comma_or_parenthesis_behind_it() {
    reads_as("$I=7\na 10.0.0.$I/24\na 10.0.0.${I}/24\na $I,$I\n", "a 10.0.0.$I/24; a 10.0.0.7/24; a 7,7");
}

#[test]
fn an_undefined_reference_stays_is_no_block_and_is_reported() {
    let read = read_text("$NODE=1\na $NONE ${NONE}\nnotify \"x $NONE\"\n");
    assert_eq!(read.shape(), "a $NONE ${NONE}; notify x $NONE");
    assert_eq!(read.codes(), [Code::Definition, Code::Definition]);
    assert!(read.findings.iter().all(|f| f.nearest.as_deref() == Some("NODE")));
}

#[test]
fn a_definition_may_hold_several_words_and_names_are_letters_digits_and_underscore() {
    let read = read_text("$A_1=b c\nx $A_1\n$A-B=1\n$P = 5\n");
    assert_eq!(read.shape(), "x b c; $A-B=1; $P = 5");
    assert_eq!(read.codes(), [Code::Definition]);
}

#[test]
fn a_definition_of_several_lines_may_hold_whole_blocks_and_definitions() {
    let text = "$BODY=\\\nblock {\\\n$N=5\\\nvalue $N\\\n}\\\n\n$BODY\n@here $BODY\n";
    reads_as(text, "block (value 5); block (value 5)");
}

#[test]
fn a_comment_does_not_end_a_definition_of_several_lines() {
    reads_as("$B=\\\na { # the start \\\n # of a block\\\nb#x \\\n}\n\n$B\n", "a (b)");
    reads_as("$B=\\ # with a comment \\\na\n$B\nb # no definition \\\nc\n", "a; b; c");
}

#[test]
fn the_body_of_a_definition_may_begin_on_its_first_line() {
    reads_as("$B=a { \\\nb \\\n}\n$B\nc\n", "a (b); c");
    reads_as("$B=a # first \\\nb\n$B\n", "a; b");
}

#[test]
fn definitions_of_several_lines_nest() {
    reads_as("$IN=\\\na\\\nb\\\n\n$OUT=\\\nx {\\\n$IN\\\n}\\\n\n$OUT\n", "x (a; b)");
}

#[test]
fn built_in_definitions_have_their_values() {
    let read =
        read_file_text(Path::new("/nowhere/x.conf"), "a ${_PWD} ${_INSTANCE} ${_HASH}${_BANG} $_PWD\n", "me");
    assert_eq!(read.shape(), "a /nowhere me #! /nowhere");
}

#[test]
fn an_environment_variable_that_is_not_set_vanishes() {
    reads_as("a ${_ENV BUOY_NO_SUCH_VARIABLE} b\n", "a b");
    let path = std::env::var("PATH").expect("every test has a path");
    reads_as("a ${_ENV PATH}\n", &format!("a {path}"));
}

#[test]
fn random_numbers_keep_their_bounds_and_repeat_with_a_seed() {
    let text = "global_defs {\nrandom_seed 7\n}\na ${_RANDOM 5 9}\na ${_RANDOM 5 9}\na ${_RANDOM}\n";
    let (one, two) = (read_text(text), read_text(text));
    assert_eq!(one.shape(), two.shape());
    for id in one.tree.roots().skip(1).take(2) {
        let number: u32 = one.sources.text(one.tree.values(id)[0]).parse().expect("a number");
        assert!((5..=9).contains(&number));
    }
}

#[test]
fn definitions_that_expand_without_end_are_an_error_and_no_hang() {
    for text in [
        "$A=$A x\ny $A\n",
        "$A=$B\n$B=$A\ny $A\n",
        "$A=\\\n$A\\\n\n$A\n",
        "$A=\\\n$B\\\n$B\\\n\n$B=\\\n$A\\\n$A\\\n\n$A\n",
    ] {
        let read = read_text(text);
        assert_eq!(read.codes(), [Code::ExpansionLimit], "{text}");
        assert_eq!(read.findings.worst(), Some(Severity::Error));
    }
}

#[test]
fn exponential_definitions_are_an_error_and_no_hang() {
    let mut text = String::from("$A0=xxxxxxxxxxxxxxxx\n");
    for i in 1..40 {
        text += &format!("$A{i}=$A{} $A{}\n", i - 1, i - 1);
    }
    text += "y $A39\n";
    assert_eq!(read_text(&text).codes(), [Code::ExpansionLimit]);
    let mut text = String::from("$A0=\\\nx\\\n\n");
    for i in 1..30 {
        text += &format!("$A{i}=\\\n$A{}\\\n$A{}\\\n\n", i - 1, i - 1);
    }
    text += "$A29\n";
    assert_eq!(read_text(&text).codes(), [Code::ExpansionLimit]);
}

#[test]
fn sequences_count_up_down_and_in_hexadecimal() {
    reads_as("~SEQ(I,3) a $I\n", "a 1; a 2; a 3");
    reads_as("~SEQ(I,5,3) a $I\n", "a 5; a 4; a 3");
    reads_as("~SEQ(I,1,4,9) a ${I}x\n", "a 1x; a 5x; a 9x");
    reads_as("~SEQ(I,-2) a $I\n", "a -1; a -2");
    reads_as("~SEQx(I,9,b) a fe80::${I}\n", "a fe80::9; a fe80::a; a fe80::b");
}

#[test]
fn generators_that_multiply_are_one_error_and_no_hang() {
    let before = std::time::Instant::now();
    let read = read_text("~SEQ(A,1,60000) ~SEQ(B,1,60000) foo\n}\n");
    assert_eq!(read.codes(), [Code::ExpansionLimit]);
    assert_eq!(read.shape(), "");
    // A moment where nothing else runs.
    assert!(before.elapsed() < std::time::Duration::from_secs(300), "{:?}", before.elapsed());
}

#[test]
fn lists_take_single_values_and_tuples_with_missing_members() {
    reads_as("~LST(X,a,b) y $X\n", "y a; y b");
    reads_as("~LST({X,Y},{1,2},{3}) y $X $Y\n", "y 1 2; y 3");
}

#[test]
fn the_leftmost_generator_is_the_outermost() {
    reads_as("~SEQ(A,2) ~SEQ(B,2) x ${A}${B}\n", "x 11; x 12; x 21; x 22");
}

#[test]
fn generators_work_with_definitions_around_them() {
    reads_as("$N=2\n$L=~SEQ(I,$N) a ${I}\n$L\n", "a 1; a 2");
}

#[test]
fn a_generator_that_cannot_be_used_is_reported() {
    for text in [
        "~SEQ(I,x) a\n",
        "~SEQ(I,1,0,5) a\n",
        "~SEQ(I,1,9999999999) a\n",
        "~LST(X) a\n",
        "~SEQ(1,2,3,4,5) a\n",
    ] {
        assert_eq!(read_text(text).codes(), [Code::Definition], "{text}");
    }
}

#[test]
fn words_know_line_and_column_also_when_they_were_expanded() {
    assert_eq!(read_text("\n  ab \"cd\" e\n").places(), [(2, 3), (2, 7), (2, 11)]);
    assert_eq!(read_text("$X=long value\nab $X z\n").places(), [(2, 1), (2, 4), (2, 4), (2, 7)]);
}

#[test]
fn includes_are_read_in_place_relative_and_sorted() {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::create_dir(dir.path().join("d")).expect("a directory");
    for (name, text) in
        [("d/2.conf", "two\n"), ("d/1.conf", "one\ninclude more\n"), ("d/more", "$Z=zed\nthree\n")]
    {
        std::fs::write(dir.path().join(name), text).expect("a file");
    }
    let main = dir.path().join("main.conf");
    let read = read_file_text(&main, "a {\ninclude d/*.conf\n}\nb $Z\n@there include none\n", "here");
    assert_eq!(read.shape(), "a (one; three; two); b zed");
    assert_eq!(read.codes(), [Code::Condition]);
    let read = read_file_text(&main, "$D=d\ninclude ${D}/{2,1}.conf\n", "here");
    assert_eq!(read.shape(), "two; one; three");
}

#[test]
fn what_an_include_does_not_read_is_reported() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().expect("a directory");
    let script = dir.path().join("script");
    std::fs::write(&script, "a\n").expect("a file");
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).expect("a mode");
    std::fs::create_dir(dir.path().join("sub")).expect("a directory");
    let main = dir.path().join("main.conf");
    for (text, codes) in [
        ("include script\n", vec![Code::Include]),
        ("include {script,missing}\n", vec![Code::Include, Code::Include]),
        ("include sub\n", vec![Code::Include]),
        ("include missing\n", vec![Code::Include]),
        ("include missing*\n", vec![]),
        ("includew missing*\n", vec![Code::Include]),
        ("includeb {script,missing*}\n", vec![Code::Include, Code::Include]),
        ("include\n", vec![Code::MissingValue]),
        ("include missing* more\n", vec![Code::ExtraWords]),
    ] {
        let read = read_file_text(&main, text, "here");
        assert_eq!(read.codes(), codes, "{text}");
        assert_eq!(read.shape(), "", "{text}");
    }
}

/// A directory with the file `there`, the folder `sub`, and `main.conf`, whose path is returned.
fn directory() -> (tempfile::TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("there"), "x\n").expect("a file");
    std::fs::create_dir(dir.path().join("sub")).expect("a directory");
    let main = dir.path().join("main.conf");
    (dir, main)
}

/// keepalived 2.2.7 with these lines ends with status 6 for errors, and runs with a message or none for the others.
#[test]
fn what_an_include_insists_on_is_an_error_when_it_is_missing() {
    let (_dir, main) = directory();
    let (error, warning) = (Some(Severity::Error), Some(Severity::Warning));
    for (text, worst) in [
        ("include none*", None),
        ("include none", warning),
        ("include {there,none}", warning),
        ("include sub", warning),
        ("includer none", warning),
        ("includer sub", error),
        ("includem none", error),
        ("includem none*", None),
        ("includem {there,none}", warning),
        ("includew none*", error),
        ("includew none", error),
        ("includeb none", warning),
        ("includeb {there,none}", error),
        ("includea none*", error),
        ("includea {there,none}", error),
        ("includea sub", error),
        ("includea there", None),
    ] {
        let read = read_file_text(&main, &format!("{text}\n"), "here");
        assert_eq!(read.findings.worst(), worst, "{text}");
    }
}

#[test]
fn include_check_is_for_the_includes_behind_it() {
    let (dir, main) = directory();
    std::fs::write(
        dir.path().join("quiet"),
        "global_defs {\ninclude_check -wildcard_match\n}\ninclude none1*\n",
    )
    .expect("a file");
    for (checks, line, insisted) in [
        ("include_check", "include none*", true),
        ("include_check wildcard_match", "include none*", true),
        ("include_check match", "include none*", false),
        ("include_check match", "include none", true),
        ("include_check readable", "include sub", true),
        ("include_check wildcard_match\ninclude_check match", "include none*", false),
        ("include_check wildcard_match\ninclude_check +match", "include none*", true),
        ("include_check\ninclude_check -wildcard_match", "include none*", false),
        ("include_check\ninclude_check -wildcard_match brace_match", "include none*", false),
        ("include_check\ninclude_check -wildcard_match", "include {there,none}", true),
        ("include_check wildcard_match nosuch", "include none*", false),
        ("include_check wildcard_match", "include quiet\ninclude none2*", true),
        ("include_check wildcard_match", "include quiet", false),
    ] {
        let text = format!("global_defs {{\n{checks}\n}}\n{line}\n");
        let read = read_file_text(&main, &text, "here");
        let errors = read.findings.count(Severity::Error);
        assert_eq!(errors, usize::from(insisted), "{text}");
    }
    let before = read_file_text(&main, "include none*\nglobal_defs {\ninclude_check\n}\n", "here");
    assert_eq!(before.codes(), []);
    let elsewhere = read_file_text(&main, "include_check\na {\ninclude_check\n}\ninclude none*\n", "here");
    assert_eq!(elsewhere.codes(), []);
}

#[test]
fn with_all_checks_every_include_insists_whatever_include_check_says() {
    let (_dir, main) = directory();
    for line in ["include none*", "include none", "include sub", "includem none*", "include {there,none}"] {
        let text =
            format!("global_defs {{\ninclude_check -match -wildcard_match -brace_match -read\n}}\n{line}\n");
        let mut sources = Sources::default();
        let mut findings = Findings::default();
        let file = sources.add(&main, text);
        let manner = Manner { config_id: String::new(), all_include_checks: true };
        read(file, manner, &mut sources, &mut findings);
        assert_eq!(findings.worst(), Some(Severity::Error), "{line}");
    }
}

#[test]
fn an_include_loop_is_an_error() {
    let dir = tempfile::tempdir().expect("a directory");
    let (a, b) = (dir.path().join("a"), dir.path().join("b"));
    std::fs::write(&a, "one\ninclude b\nlast\n").expect("a file");
    std::fs::write(&b, "two\ninclude a\n").expect("a file");
    let read = read_file_text(&a, "one\ninclude b\nlast\n", "here");
    assert_eq!(read.shape(), "one; two; last");
    assert_eq!(read.codes(), [Code::IncludeLoop]);
}

#[test]
fn a_script_line_is_split_twice() {
    let words = |rest: &str| script_words(rest).into_iter().map(|w| w.text).collect::<Vec<_>>();
    assert_eq!(words("/bin/x one two"), ["/bin/x", "one", "two"]);
    assert_eq!(words("\"/bin/x one two\" user"), ["/bin/x one two", "user"]);
    assert_eq!(words("'a b'\"c d\"e f"), ["a bc de", "f"]);
    assert_eq!(arguments("cmd M \\\"a b\\\" c"), ["cmd", "M", "\"a", "b\"", "c"]);
    assert_eq!(arguments("cmd 'a b' \"c d\" e\\ f"), ["cmd", "a b", "c d", "e f"]);
    assert_eq!(arguments("\\x41\\101\\n\\t\\e \\cA"), ["AA\n\t\x1b", "\x01"]);
}

#[test]
fn an_escaped_quote_in_a_script_line_reaches_the_argument() {
    let read = read_text("notify \"/bin/cmd M \\\"a b\\\" {c}\" user\n");
    let id = read.tree.roots().next().expect("a root");
    let words = script_words(read.sources.text(read.tree.node(id).rest));
    assert_eq!(words.len(), 2);
    assert_eq!(arguments(&words[0].text), ["/bin/cmd", "M", "\"a", "b\"", "{c}"]);
}

#[test]
fn writing_a_command_and_reading_it_again_gives_the_same_command() {
    for command in ["/bin/x a b", "/bin/x \"a b\" c", "x 'a \"b' \\\"c", "a\\\\b # c", "{\"x\"}", "tail\\\\"]
    {
        let line = quoted_command(command);
        let words = script_words(&line);
        assert_eq!(words.len(), 1, "{line}");
        assert_eq!(arguments(&words[0].text), arguments(command), "{line}");
    }
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..400)) {
        let (text, _) = decode(bytes);
        read_text(&text);
    }

    #[test]
    fn no_special_characters_make_the_reader_panic(text in "[a$A{}()~SEQLT,=1@^#!\"'\\\\ \n0-9_-]{0,200}") {
        read_text(&text);
    }
}
