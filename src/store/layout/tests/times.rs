//! Ages over two clocks, one of which may be wrong.

use super::*;
use crate::store::Variants;

const SECOND: u64 = 1_000;
const HOUR: u64 = 3_600 * SECOND;
const YEAR: u64 = 365 * 24 * HOUR;

/// The clocks of a machine whose wall clock is off, so long after [`clocks`].
fn off(by: i64, start: Clocks, later: u64) -> Clocks {
    let wall = (WALL + later).checked_add_signed(by).expect("after 1970");
    Clocks { now: start.now + ms(later), wall: UNIX_EPOCH + ms(wall) }
}

fn age(entry: &Entry, clocks: Clocks) -> Duration {
    entry.head.lifetime().expect("it is stored").current_age(entry.resident(clocks.now))
}

/// Stored by a machine whose clock is off by `writer`, read `later` by one whose is off by `reader`.
fn moved(writer: i64, reader: i64, later: u64) -> Result<Duration, Unreadable> {
    let start = clocks();
    let bytes = written(entry(off(0, start, 0), &[], "body"), off(writer, start, 0));
    let there = off(reader, start, later);
    let entry = read(bytes, there)?.into_entry().expect("an entry");
    Ok(age(&entry, there))
}

#[test]
fn an_entry_is_as_old_as_the_clocks_say_and_unknown_where_it_comes_from_the_future() {
    let (second, hour, years) = (1_000_i64, HOUR.cast_signed(), (10 * YEAR).cast_signed());
    let future = Err(Unreadable::FromTheFuture);
    // It was a second old when it was written, so it is to be 31 s old.
    let later = 30 * SECOND;
    for (writer, reader, expected) in [
        (0, 0, Ok(ms(31 * SECOND))),
        (hour, hour, Ok(ms(31 * SECOND))),
        (-years, -years, Ok(ms(31 * SECOND))),
        (0, hour, Ok(ms(HOUR + 31 * SECOND))),
        (0, years, Ok(ms(10 * YEAR + 31 * SECOND))),
        (-hour, 0, Ok(ms(HOUR + 31 * SECOND))),
        (-years, 0, Ok(ms(10 * YEAR + 31 * SECOND))),
        (0, -hour, future),
        (0, -years, future),
        (hour, 0, future),
        (years, 0, future),
        (years, -years, future),
        (0, -31 * second, Ok(ms(0))),
        (0, -36 * second, Ok(ms(0))),
        (0, -36 * second - 1, future),
    ] {
        assert_eq!(moved(writer, reader, later), expected, "{writer} {reader}");
    }
}

#[test]
fn nothing_is_taken_for_younger_than_it_is_by_more_than_the_clocks_differ_by() {
    for ahead in [0, 1, 4_999, 5_000, 5_001, 60_000, HOUR] {
        for later in [0, 1, 999, 5_000, 60_000, HOUR, 2 * HOUR] {
            let Ok(age) = moved(ahead.cast_signed(), 0, later) else {
                assert!(later + SECOND + 5 * SECOND < ahead, "{ahead} {later}");
                continue;
            };
            assert!(age + ms(ahead) >= ms(later + SECOND), "{ahead} {later}: {age:?}");
        }
    }
}

#[test]
fn fresh_is_never_longer_for_being_moved_a_thousand_times() {
    let mut there = clocks();
    let mut entry = changed(entry(there, &[], "body"), |head| {
        head.born = there.now - Duration::from_nanos(1_000_000_001);
        lifetime_of(head).initial_age = Duration::from_nanos(7);
        lifetime_of(head).fresh_for = Duration::from_nanos(60_000_999_999);
    });
    let fresh_for = |entry: &Entry| entry.head.lifetime().expect("it is stored").fresh_for;
    let mut left = fresh_for(&entry) - age(&entry, there);
    for _ in 0..1_000 {
        let step = Duration::from_nanos(333_333);
        there = Clocks { now: there.now + step, wall: there.wall + step };
        entry = read_entry(written(entry, there), there);
        let now_left = fresh_for(&entry) - age(&entry, there);
        assert!(now_left <= left - step, "{now_left:?} of {left:?}");
        left = now_left;
    }
    assert!(left > ms(50_000), "and not much shorter: {left:?}");
}

#[test]
fn a_clock_before_1970_neither_writes_nor_reads() {
    let start = clocks();
    for before in [ms(1), ms(20 * YEAR)] {
        let unset = Clocks { wall: UNIX_EPOCH - before, ..start };
        let record = Record::Entry(entry(start, &[], "body"));
        assert!(Layout::default().write(&key(), &record, unset).is_none());
        let bytes = written(entry(start, &[], "body"), start);
        assert_eq!(read(bytes, unset).err(), Some(Unreadable::FromTheFuture));
        let variants = Record::Variants(Arc::new(Variants::of(vec![], vec![], start.now)));
        let bytes = Layout::default().write(&key(), &variants, start).expect("a record");
        assert_eq!(read(bytes, unset).err(), Some(Unreadable::FromTheFuture));
        assert!(Layout::default().write(&key(), &variants, unset).is_none());
    }
    // It arrived a second ago, before there was time.
    let early = Clocks { wall: UNIX_EPOCH + ms(999), ..start };
    let record = Record::Entry(entry(start, &[], "body"));
    assert!(Layout::default().write(&key(), &record, early).is_none());
}

#[test]
fn it_is_of_use_for_as_long_as_was_said_and_never_for_more_than_a_year() {
    let start = clocks();
    let year = ms(366 * 24 * HOUR);
    for (said, later, off_by, left) in [
        (ms(HOUR), 0, 0, ms(HOUR)),
        (ms(HOUR), HOUR / 2, 0, ms(HOUR / 2)),
        (ms(HOUR), 2 * HOUR, 0, ms(0)),
        (ms(HOUR), 0, HOUR.cast_signed(), ms(0)),
        (ms(HOUR), 0, -4_000, ms(HOUR + 4_000)),
        (ms(3 * YEAR), 0, 0, year),
    ] {
        let stored = Entry { until: start.now + said, ..entry(start, &[], "body") };
        let there = off(off_by, start, later);
        let found = read_entry(written(stored, start), there);
        let is = found.until.saturating_duration_since(there.now);
        assert_eq!(is, left, "{said:?} {later} {off_by}");
    }
    // What has to come back is not of use for ever, even where its writer's clock was decades ahead.
    let until = start.now + ms(20 * YEAR);
    let variants = Record::Variants(Arc::new(Variants::of(vec![], vec![], until)));
    let bytes = Layout::default().write(&key(), &variants, start).expect("a record");
    let Ok(Record::Variants(found)) = read(bytes, start) else { panic!("variants") };
    assert_eq!(found.until(), start.now + year);
}

#[test]
fn no_time_that_can_be_written_overflows_anything() {
    let start = clocks();
    let bytes = written(entry(start, &[], "body"), start).to_vec();
    // The times are the first numbers behind the key, its kind and the names.
    let names = names(&[]).said().len();
    let first = PREFIX + 4 + key().as_bytes().len() + 1 + 4 + names;
    for field in 0..6 {
        for value in [0, 1, WALL, u64::MAX / 1_000_000, u64::MAX / 1_000, u64::MAX - 1, u64::MAX] {
            let mut bytes = bytes.clone();
            bytes[first + field * 8..first + field * 8 + 8].copy_from_slice(&value.to_be_bytes());
            for there in [start, off(-(WALL.cast_signed()), start, 0)] {
                let Ok(record) = read(summed(bytes.clone()), there) else { continue };
                assert!(record.time_to_live() <= ms(366 * 24 * HOUR));
                let found = record.into_entry().expect("an entry");
                let _ = (age(&found, there), found.is_older_than(&found));
                let again = Layout::default().write(&key(), &Record::Entry(found), there);
                let _ = again.map(|bytes| read(bytes, there).expect("what was just written"));
            }
        }
    }
}

#[test]
fn an_invalidation_counts_for_what_was_fetched_before_it_here_or_at_any_time_elsewhere() {
    let start = clocks();
    let own = written(changed(entry(start, &[], "body"), |head| head.fence = fence(41)), start);
    assert_eq!(read_entry(own.clone(), start).head.fence, fence(41));

    let (process, _) = Fence::default().parts();
    let mut foreign = own.to_vec();
    let at = foreign.windows(16).position(|bytes| bytes == process.to_be_bytes());
    foreign[at.expect("the process")] ^= 1;
    assert_eq!(read_entry(summed(foreign), start).head.fence, fence(0));
}
