//! How does the answer read as one sentence?

use larder_base::Micros;
use larder_base::model::Knowledge;

use super::plural;
use super::verdict::{Rule, Times, Verdict};

/// The answer in one sentence, from the verdicts on all rows, newest first.
pub(super) fn sentence(
    rows: &[Times],
    verdicts: &[Verdict],
    rule: &Rule,
    null_feature: Option<&str>,
) -> String {
    match verdicts.iter().position(|verdict| *verdict == Verdict::Winner) {
        Some(winner) => found(&rows[winner], verdicts, rule, null_feature),
        None => none(rows, verdicts, rule),
    }
}

fn found(winner: &Times, verdicts: &[Verdict], rule: &Rule, null_feature: Option<&str>) -> String {
    let mut text = format!(
        "the row of {} answers: of what was known at {} it is the newest, {} old",
        winner.event,
        rule.at,
        rule.at.since(winner.event).about()
    );
    for (verdict, by) in [
        (Verdict::LostByCreated, "was created earlier"),
        (Verdict::LostByTieBreak, "is smaller by tie_break"),
        (Verdict::LostByOrder, "stands earlier in the source"),
    ] {
        match count(verdicts, verdict) {
            0 => {}
            lost => {
                let rows = plural(lost, "row", "rows");
                text += &format!("; of the same event time {rows} lost, which {by}");
            }
        }
    }
    if let Some(name) = null_feature {
        text += &format!("; `{name}` is null in it, and older rows are never asked");
    }
    let later = winner.created.filter(|created| *created > rule.at);
    let trusted = |created: &Micros| rule.trusted_from.is_none_or(|from| *created >= from);
    if let Some(created) = later
        .filter(trusted)
        .filter(|_| rule.knowledge == Knowledge::TieBreak)
    {
        text += &format!("; it was written later, at {created}: with knowledge `as_of` it would not count");
    }
    text
}

fn none(rows: &[Times], verdicts: &[Verdict], rule: &Rule) -> String {
    if rows.is_empty() {
        return "no row answers: the source has none of this entity".to_owned();
    }
    let expired = verdicts.iter().position(|verdict| *verdict == Verdict::Expired);
    if let (Some(newest), Some(ttl)) = (expired, rule.ttl) {
        let event = rows[newest].event;
        return format!(
            "no row answers: the newest that was known is of {event}, {} old, and the ttl is {ttl}",
            rule.at.since(event).about()
        );
    }
    let reasons = [
        (Verdict::Future, "not happened yet"),
        (Verdict::NotYetAvailable, "not been available yet"),
        (Verdict::CreatedLater, "not been written yet"),
        (
            Verdict::NotVisible,
            "not been visible at the instant of known_until",
        ),
    ];
    let told: Vec<String> = reasons
        .into_iter()
        .filter(|(verdict, _)| count(verdicts, *verdict) > 0)
        .map(|(verdict, what)| {
            let many = count(verdicts, verdict);
            format!("{} had {what}", plural(many, "row", "rows"))
        })
        .collect();
    format!("no row answers: at {} {}", rule.at, told.join(", "))
}

fn count(verdicts: &[Verdict], of: Verdict) -> usize {
    verdicts.iter().filter(|verdict| **verdict == of).count()
}
