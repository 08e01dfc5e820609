use super::*;

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// Questions every millisecond of 0..1000; answered at once unless `lost` says otherwise.
fn record(lost: impl Fn(u64) -> bool) -> Record {
    let mut record = Record::default();
    for sent in 0..1000 {
        let answered = (!lost(sent)).then(|| ms(sent));
        record.questions.push(Question { sent: ms(sent), answered });
        record.answers.extend(answered);
    }
    record
}

#[test]
fn an_undisturbed_service_has_a_gap_of_one_interval() {
    let report = record(|_| false).report(ms(0), ms(1000), SystemTime::UNIX_EPOCH);
    assert_eq!((report.sent, report.lost, report.longest_gap), (1000, 0, ms(1)));
}

#[test]
fn the_gap_runs_from_the_last_answer_before_to_the_first_after() {
    let report = record(|sent| (300..360).contains(&sent)).report(ms(0), ms(1000), SystemTime::UNIX_EPOCH);
    assert_eq!((report.lost, report.longest_gap), (60, ms(61)));
    assert_eq!(report.gap_began, Some(SystemTime::UNIX_EPOCH + ms(299)));
}

#[test]
fn a_gap_under_way_counts_to_the_present() {
    let report = record(|sent| sent >= 500).report(ms(0), ms(1000), SystemTime::UNIX_EPOCH);
    assert_eq!(report.longest_gap, ms(501));
    assert_eq!(report.lost, 450, "the questions of the last 50 ms may still be answered");
}

#[test]
fn a_report_since_a_moment_forgets_earlier_gaps_and_keeps_one_that_spans_it() {
    let two_gaps = record(|sent| (100..300).contains(&sent) || (600..650).contains(&sent));
    let late = two_gaps.report(ms(500), ms(1000), SystemTime::UNIX_EPOCH);
    assert_eq!((late.sent, late.lost, late.longest_gap), (500, 50, ms(51)));
    let spanning = two_gaps.report(ms(620), ms(1000), SystemTime::UNIX_EPOCH);
    assert_eq!(spanning.longest_gap, ms(51));
}

#[test]
fn without_any_answer_there_is_no_gap_but_loss() {
    let report = record(|_| true).report(ms(0), ms(1000), SystemTime::UNIX_EPOCH);
    assert_eq!((report.lost, report.longest_gap, report.gap_began), (950, ms(0), None));
}
