//! Each broken rule is caught, by the case that is about it.

use std::sync::Arc;

use larder_conformance::{
    OfflineFixture, OnlineFixture, Options, RegistryFixture, Report, run_offline_with, run_online_with,
    run_registry_with,
};

use crate::fixtures::{Online, Registries};
use crate::{bad_offline, bad_online, bad_registry};

/// What caught a saboteur where the expected case did not.
fn missed(report: &Report, by: &str) -> Option<String> {
    let failed: Vec<&str> = report.failures().map(|(case, _)| case.id.as_str()).collect();
    let others = failed.join(" ");
    (!failed.contains(&by)).then(|| format!("{}: expected {by}, failed: {others}", report.store))
}

fn all_caught(count: usize, at_least: usize, missed: &[String]) {
    assert!(count >= at_least, "{count} saboteurs");
    assert!(
        missed.is_empty(),
        "not caught as expected:\n{}",
        missed.join("\n")
    );
}

fn options() -> Options {
    Options::new().seeds(2)
}

#[tokio::test(flavor = "multi_thread")]
async fn online() {
    use bad_online::How::*;
    let (mut count, mut not_caught) = (0, Vec::new());
    for (how, by) in [
        (OldestWins, "online.order.newest-wins"),
        (LastWriteWins, "online.order.newest-wins"),
        (EqualIsStale, "online.order.equal-overwrites"),
        (IgnoresCreated, "online.order.created-decides"),
        (CreatedFirst, "online.order.event-before-created"),
        (AbsentCreatedIsLargest, "online.order.absent-created"),
        (UnsignedTimes, "online.order.extreme-times"),
        (TombstonesLose, "online.tombstone.older-write"),
        (DeletesAlwaysWin, "online.tombstone.stale"),
        (DeletesForgetAbsentKeys, "online.tombstone.absent"),
        (DeletesDoNothing, "online.tombstone.deletes"),
        (ReportsAllWritten, "online.order.report"),
        (ChecksThenWrites, "online.order.newest-wins-under-races"),
        (LosesLastOfMany, "online.batching.many-rows"),
        (DropsDuplicates, "online.keys.duplicates"),
        (ShiftsMissing, "online.alignment.missing-between"),
        (SortsKeys, "online.alignment.request-order"),
        (SlotsInSequence, "online.alignment.slots"),
        (KeepsUsedBlock, "online.alignment.reused-block"),
        (IgnoresProjects, "online.isolation.projects"),
        (TruncatesKeys, "online.keys.long"),
        (FoldsCase, "online.keys.every-type"),
        (SkipsNullKeys, "online.keys.null-write"),
        (NullsAreZero, "online.values.wide"),
        (EmptyIsNull, "online.values.empty-is-not-null"),
        (LosesNegativeZero, "online.values.floats"),
        (TruncatesText, "online.values.large"),
        (
            WritesSynchronouslyBeforePolled,
            "online.cancellation.never-polled",
        ),
        (RenewsIdentity, "online.lifecycle.identity"),
        (IdentityFromTheStart, "online.lifecycle.empty"),
        (ConstantIdentity, "online.lifecycle.identity-after-wipe"),
        (ReclaimsProject, "online.isolation.reclaim"),
        (ReclaimsAllProjects, "online.isolation.reclaim"),
        (ReclaimsNothing, "online.isolation.reclaim"),
        (ReclaimsUncounted, "online.isolation.reclaim-again"),
        (ScanSkips, "online.scan.pages"),
        (ScanHidesTombstones, "online.scan.tombstones"),
        (ScanUnordered, "online.scan.pages"),
        (ScanMissing, "online.honesty.scan"),
        (OverwritesUndeclared, "online.order.unsupported-overwrite"),
        (NewestWinsUndeclared, "online.order.unsupported-newest"),
        (WaitsInProcess, "online.honesty.in-process"),
        (ChangesItsMind, "online.honesty.constant"),
        (TellsKeys, "online.errors.quiet"),
        (NamelessBackend, "online.lifecycle.check"),
    ] {
        let wrap =
            move |inner| Arc::new(bad_online::Bad::new(inner, how)) as Arc<dyn larder_core::OnlineStore>;
        let fixture = Online::wrapped(&format!("{how:?}"), Box::new(wrap));
        count += 1;
        not_caught.extend(missed(
            &run_online_with(&fixture as &dyn OnlineFixture, &options()).await,
            by,
        ));
    }
    let wrap = |inner| {
        let bad = bad_online::Bad::new(inner, ForgetsOnReopen);
        Arc::new(bad) as Arc<dyn larder_core::OnlineStore>
    };
    let fixture = Online::forgetful("ForgetsOnReopen", Box::new(wrap));
    count += 1;
    not_caught.extend(missed(
        &run_online_with(&fixture, &options()).await,
        "online.lifecycle.reopen",
    ));
    all_caught(count, 40, &not_caught);
}

#[tokio::test(flavor = "multi_thread")]
async fn registry() {
    use bad_registry::How::*;
    let (mut count, mut not_caught) = (0, Vec::new());
    for (how, by) in [
        (CommitsOnAnyBase, "registry.commit.conflict"),
        (ChecksThenCommits, "registry.races.one-winner"),
        (LostReplyIsConflict, "registry.commit.lost-reply"),
        (LostReplyCommitsTwice, "registry.commit.lost-reply"),
        (ConflictsAsInput, "registry.commit.conflict"),
        (KeepsThreeCommits, "registry.history.order"),
        (OldestFirst, "registry.history.order"),
        (BeforeIsInclusive, "registry.history.before"),
        (IgnoresLimit, "registry.history.limit"),
        (ForgetsMessages, "registry.history.texts"),
        (DropsUnknownKinds, "registry.commit.unknown-kinds"),
        (DropsDeletes, "registry.commit.apply"),
        (DropsReclaimed, "registry.commit.apply"),
        (RoundsNumbers, "registry.commit.unknown-kinds"),
        (IgnoresMinWriter, "registry.commit.min-writer"),
        (CommitsHalf, "registry.commit.refused"),
        (NeverWakes, "registry.load.wait"),
        (IgnoresKnown, "registry.load.known"),
        (KnownIsAFloor, "registry.load.known-other"),
        (LoadsNewestForAny, "registry.load.at"),
        (EmptyForUnknownVersion, "registry.load.at-unknown"),
        (OneProject, "registry.commit.projects"),
        (ListsReadProjects, "registry.load.empty"),
        (RecordsMakeVersions, "registry.ledger.no-version"),
        (LedgerAppends, "registry.ledger.record"),
        (LedgerForgetsFailed, "registry.ledger.record"),
        (LedgerIgnoresGeneration, "registry.ledger.isolation"),
        (LedgerIgnoresProject, "registry.ledger.isolation"),
        (LedgerNewestFirst, "registry.ledger.order"),
        (CompactLosesIntervals, "registry.ledger.compact"),
        (CompactTakesRunning, "registry.ledger.compact"),
        (CompactMergesStores, "registry.ledger.compact-apart"),
        (CompactLosesCounts, "registry.ledger.compact"),
        (CompactHidesNewest, "registry.ledger.compact"),
        (NamelessBackend, "registry.check"),
    ] {
        let wrap =
            move |inner| Arc::new(bad_registry::Bad::new(inner, how)) as Arc<dyn larder_core::Registry>;
        let fixture = Registries::wrapped(&format!("{how:?}"), Box::new(wrap));
        count += 1;
        not_caught.extend(missed(
            &run_registry_with(&fixture as &dyn RegistryFixture, &options()).await,
            by,
        ));
    }
    all_caught(count, 30, &not_caught);
}

#[tokio::test(flavor = "multi_thread")]
async fn offline() {
    use bad_offline::How::*;
    let (mut count, mut not_caught) = (0, Vec::new());
    for (how, by) in [
        (TtlExclusive, "offline.pit.ttl-inclusive"),
        (TtlIgnored, "offline.pit.ttl-inclusive"),
        (TtlFromKnown, "offline.pit.available-after-and-ttl"),
        (SeesTheFuture, "offline.pit.future-is-unseen"),
        (SeesTheWholeDay, "offline.pit.newest-not-after"),
        (FutureExclusive, "offline.pit.newest-not-after"),
        (DelayIgnored, "offline.pit.available-after"),
        (DelayExclusive, "offline.pit.available-after"),
        (AsOfIgnored, "offline.pit.as-of"),
        (AlwaysAsOf, "offline.pit.tie-break-mode-sees-later-created"),
        (OverrideIgnored, "offline.pit.knowledge-override"),
        (TrustedFromIgnored, "offline.pit.trusted-from"),
        (TrustedFromExclusive, "offline.pit.trusted-from"),
        (CreatedIgnored, "offline.pit.tie-created"),
        (TieBreakIgnored, "offline.pit.tie-break-column"),
        (TieBreakSwapped, "offline.pit.tie-break-column"),
        (FirstOfTies, "offline.pit.tie-order"),
        (NullKeysMatch, "offline.pit.null-keys"),
        (NullEventsAreEpoch, "offline.pit.null-event"),
        (FillsNulls, "offline.pit.null-feature"),
        (DropsUnmatched, "offline.pit.future-is-unseen"),
        (DropsDuplicates, "offline.pit.duplicates"),
        (SortsByTime, "offline.pit.input-order"),
        (IgnoresBatchRows, "offline.shape.batch-rows"),
        (RolesShareKeys, "offline.pit.roles"),
        (FirstViewForAll, "offline.pit.own-ttl"),
        (CountsExpiredAsUnmatched, "offline.pit.ttl-inclusive"),
        (CountsNoNullKeys, "offline.pit.null-keys"),
        (ForgetsKnownLater, "offline.pit.as-of"),
        (ForgetsFullTies, "offline.pit.tie-order"),
        (MissingColumnsAreNull, "offline.errors.missing-column"),
        (NaiveIsUtc, "offline.errors.naive-time"),
        (ZoneIgnored, "offline.pit.naive-zone"),
        (LargeText, "offline.pit.text-encodings"),
        (LosesCreated, "offline.pit.tie-created"),
        (LatestAfterInclusive, "offline.latest.bounds"),
        (LatestUntilExclusive, "offline.latest.bounds"),
        (LatestFloorIgnored, "offline.latest.bounds"),
        (LatestIgnoresLateRows, "offline.latest.late-rows"),
        (LatestTakesCreatedLater, "offline.latest.created-later"),
        (LatestOldestOnly, "offline.latest.random"),
        (LatestKeepsNullKeys, "offline.latest.nulls"),
        (RangeExclusive, "offline.range.bounds"),
        (RangeTwice, "offline.range.bounds"),
        (RangeUndeclared, "offline.range.undeclared"),
        (AppendsPart, "offline.append.all-or-nothing"),
        (AppendCountsBatches, "offline.append.round-trip"),
        (AppendUndeclared, "offline.append.undeclared"),
        (AppendForgets, "offline.append.round-trip"),
        (CompactUndeclared, "offline.compact.undeclared"),
        (CompactsInDryRuns, "offline.compact.dry-run"),
        (CompactsTwice, "offline.compact.same-answers"),
        (CompactsBackwards, "offline.compact.same-answers"),
        (ExplainsNothing, "offline.explain.views"),
        (ExplainUndeclared, "offline.explain.undeclared"),
        (SchemaLowercase, "offline.honesty.schema"),
        (EntityFilesAreEmpty, "offline.errors.entity-files"),
        (NamelessBackend, "offline.honesty.check"),
    ] {
        let fixture = bad_offline::Fixture(how);
        count += 1;
        not_caught.extend(missed(
            &run_offline_with(&fixture as &dyn OfflineFixture, &options()).await,
            by,
        ));
    }
    all_caught(count, 50, &not_caught);
}
