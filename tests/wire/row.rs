//! A row of a table: what the origin says, what two users ask one after the other, and what must
//! come of it.

/// What every table together must have rows for. The other hazards are not seen on the wire.
pub(crate) const HAZARDS: [&str; 19] = [
    "S1", "S2", "S3", "S4", "S5", "S6", "S7", "S8", "S9", "S10", "S11", "S12", "S13", "S14", "S15",
    "S16", "S20", "S21", "S22",
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Profile {
    Safe,
    ReverseProxy,
}

/// What comes of the first request for the second.
///
/// Always: the second is answered once, whole, and with nothing `evil` in it; the origin is asked
/// as often as the outcome says, and nothing but plain requests whose end is beyond doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The first answer is stored, and the second is a hit: the same status and body.
    Kept,
    /// The second is no hit: the origin is asked again, and its answer is for the second user.
    Apart,
    /// The gateway refuses the first itself, with this status; the origin never hears of it, and
    /// the second comes out as if the first had not been.
    Refused(u16),
    /// The first is answered with 502, with what is plainly not whole, or not at all. The second is
    /// no hit; once the origin is asked again, its answer is for the second user.
    Broken,
}

/// How the origin answers.
#[derive(Clone, Debug)]
pub(crate) enum Origin {
    /// With this status and these fields, and all it was asked as its body.
    Echo(u16, String),
    /// With these bytes, call by call; the last of them for all calls that follow.
    Plays(Vec<String>),
}

/// Texts are bytes as [`crate::bytes::encoded`] writes them.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) hazard: &'static str,
    pub(crate) name: String,
    pub(crate) origin: Origin,
    /// What is asked before all else, and stored.
    pub(crate) before: Option<String>,
    pub(crate) first: String,
    pub(crate) second: String,
    pub(crate) safe: Outcome,
    pub(crate) reverse_proxy: Outcome,
    /// For whom the answers to `first` are, in their order; empty: for the one user in it.
    pub(crate) answered: Vec<&'static str>,
    pub(crate) door: Door,
    /// What must stand in the second's answer.
    pub(crate) has: Vec<&'static str>,
    /// What must stand in it in `reverse-proxy`, and must not in `safe`.
    pub(crate) in_reverse_proxy: Option<&'static str>,
}

/// Where the first request goes; the second goes there too, unless that is the operator's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    Public,
    /// The gateway that trusts its peer to say who asked for what.
    Trusting,
    Admin,
}

/// In the order in which things happen.
pub(crate) fn row(
    hazard: &'static str,
    name: impl Into<String>,
    origin: Origin,
    first: impl Into<String>,
    second: impl Into<String>,
    safe: Outcome,
    reverse_proxy: Outcome,
) -> Row {
    Row {
        hazard,
        name: name.into(),
        origin,
        before: None,
        first: first.into(),
        second: second.into(),
        safe,
        reverse_proxy,
        answered: Vec::new(),
        door: Door::Public,
        has: Vec::new(),
        in_reverse_proxy: None,
    }
}

pub(crate) fn echo(fields: impl Into<String>) -> Origin {
    Origin::Echo(200, fields.into())
}

pub(crate) fn plays<const N: usize>(answers: [&str; N]) -> Origin {
    Origin::Plays(answers.map(str::to_owned).to_vec())
}

/// What everyone may have for a minute.
pub(crate) fn kept() -> Origin {
    echo("cache-control: public, max-age=60")
}

impl Row {
    pub(crate) fn before(mut self, request: impl Into<String>) -> Self {
        self.before = Some(request.into());
        self
    }

    /// The first text holds several requests, or is answered more than once.
    pub(crate) fn answered(mut self, users: &[&'static str]) -> Self {
        self.answered = users.to_vec();
        self
    }

    pub(crate) fn at(mut self, door: Door) -> Self {
        self.door = door;
        self
    }

    pub(crate) fn has(mut self, text: &'static str) -> Self {
        self.has.push(text);
        self
    }

    pub(crate) fn in_reverse_proxy(mut self, text: &'static str) -> Self {
        self.in_reverse_proxy = Some(text);
        self
    }

    pub(crate) fn outcome(&self, profile: Profile) -> Outcome {
        match profile {
            Profile::Safe => self.safe,
            Profile::ReverseProxy => self.reverse_proxy,
        }
    }
}
