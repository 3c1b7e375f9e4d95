//! What waits for its reply has a bound.

use super::super::backlog::Backlog;

#[test]
fn so_many_small_commands_wait_and_no_more() {
    let backlog = Backlog::default();
    let positions: Vec<_> = std::iter::from_fn(|| backlog.enter(0)).collect();
    assert_eq!(positions.len() as u64, Backlog::MOST / Backlog::COMMAND);
    // One reply answers for those before it, also for those whose callers left.
    backlog.leave(positions[9]);
    let more: Vec<_> = std::iter::from_fn(|| backlog.enter(0)).collect();
    assert_eq!(more.len(), 10);
    // A late one takes nothing back.
    backlog.leave(positions[3]);
    assert!(backlog.enter(0).is_none());
    backlog.leave(backlog.enter_always());
    assert_eq!(backlog.waiting(), 0);
}

#[test]
fn large_commands_are_fewer_and_none_is_too_large() {
    let backlog = Backlog::default();
    assert_eq!(std::iter::from_fn(|| backlog.enter(1 << 20)).count(), 64);
    let backlog = Backlog::default();
    assert!(backlog.enter(Backlog::MOST * 2).is_some());
    assert!(backlog.enter(0).is_none());
}
