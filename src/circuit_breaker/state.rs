//! The states of a breaker, who decides on them, and what changes them. Pure.

/// What a breaker does with calls. Open means that it refuses them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// It admits them.
    Closed,
    /// It refuses them.
    Open,
    /// It admits a few of them, to see how they end.
    HalfOpen,
}

/// Who decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// The breaker.
    Automatic,
    /// The breaker, but nobody is refused: it only says what it would do.
    ObserveOnly,
    /// The operator: all calls are refused.
    ForcedOpen,
    /// The operator: all calls are admitted, and nothing is counted.
    ForcedClosed,
}

/// A change of state.
///
/// ```
/// use seawall::{CircuitBreakerLayer, circuit_breaker::State, observe::Event};
///
/// let layer = CircuitBreakerLayer::new().observer(|event: &Event<'_>| {
///     if let Event::CircuitChanged { change, .. } = event
///         && change.to == State::Open
///     {
///         println!("the origin is left alone: {:?}", change.cause);
///     }
/// });
/// # layer.breaker().force_open();
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    /// The state that ended.
    pub from: State,
    /// The state that began.
    pub to: State,
    /// What brought it about.
    pub cause: Cause,
}

/// What changed a breaker's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// Too large a share of the calls failed.
    Failures,
    /// Too large a share of the calls was slow.
    SlowCalls,
    /// Too many calls failed without a success between them.
    InARow,
    /// The time to be open is over.
    TimeOver,
    /// A probe failed.
    FailedProbe,
    /// A probe was slow.
    SlowProbe,
    /// As many probes as were wanted were good.
    GoodProbes,
    /// The operator changed it.
    Operator,
    /// It is gone: nobody has it any more, or it made room for another.
    Forgotten,
}
