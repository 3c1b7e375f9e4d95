//! Entity tags and how they compare (RFC 9110 §8.8.3).

/// An entity tag (RFC 9110 §8.8.3), or what a careless origin sends as one: without quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EntityTag<'a> {
    is_weak: bool,
    /// With its quotes, if it has them: `a` is not `"a"`.
    opaque: &'a [u8],
}

impl<'a> EntityTag<'a> {
    /// The tag that is all of `value`, if it is one.
    pub(super) fn parse(value: &'a [u8]) -> Option<Self> {
        let (tag, rest) = Self::first_of(value.trim_ascii())?;
        rest.is_empty().then_some(tag)
    }

    /// Whether both are this very tag, and promise the same bytes (RFC 9110 §8.8.3.2).
    pub(super) fn matches_strongly(self, other: Self) -> bool {
        !self.is_weak && !other.is_weak && self.opaque == other.opaque
    }

    /// Whether both are the same but for `W/` (RFC 9110 §8.8.3.2).
    pub(super) fn matches_weakly(self, other: Self) -> bool {
        self.opaque == other.opaque
    }

    /// Whether it promises the same bytes wherever it stands.
    pub(super) fn is_strong(self) -> bool {
        !self.is_weak && self.is_quoted()
    }

    /// How many bytes it has, without `W/`.
    pub(super) fn length(self) -> usize {
        self.opaque.len()
    }

    pub(super) fn is_weak(self) -> bool {
        self.is_weak
    }

    fn is_quoted(self) -> bool {
        self.opaque.first() == Some(&b'"')
    }

    /// The tag that `bytes` begin with, and what follows it: nothing, a comma or a space.
    fn first_of(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (is_weak, bytes) = match bytes.strip_prefix(b"W/") {
            Some(rest) if rest.first() == Some(&b'"') => (true, rest),
            _ => (false, bytes),
        };
        let is_end = |byte: &u8| matches!(byte, b',' | b' ' | b'\t');
        let end = match bytes {
            [b'"', inner @ ..] => inner.iter().position(|&byte| byte == b'"')? + 2,
            _ => bytes.iter().position(is_end).unwrap_or(bytes.len()),
        };
        let (opaque, rest) = bytes.split_at(end);
        let tag = Self { is_weak, opaque };
        let is_bare = !opaque.is_empty() && opaque != b"*" && !opaque.contains(&b'"');
        let is_tag = (tag.is_quoted() || is_bare) && rest.first().is_none_or(is_end);
        is_tag.then_some((tag, rest))
    }
}

/// An entity tag that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OwnedTag {
    is_weak: bool,
    opaque: Box<[u8]>,
}

impl OwnedTag {
    pub(super) fn tag(&self) -> EntityTag<'_> {
        EntityTag { is_weak: self.is_weak, opaque: &self.opaque }
    }
}

impl From<EntityTag<'_>> for OwnedTag {
    fn from(tag: EntityTag<'_>) -> Self {
        Self { is_weak: tag.is_weak, opaque: tag.opaque.into() }
    }
}

/// The entity tags of one line, up to the first thing that is none.
pub(super) fn tags(line: &[u8]) -> impl Iterator<Item = EntityTag<'_>> {
    let mut rest = line;
    std::iter::from_fn(move || {
        while let [b',' | b' ' | b'\t', after @ ..] = rest {
            rest = after;
        }
        let (tag, after) = EntityTag::first_of(rest)?;
        rest = after;
        Some(tag)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether it is weak and what it holds, quotes included.
    fn parsed(text: &str) -> Option<(bool, &[u8])> {
        EntityTag::parse(text.as_bytes()).map(|tag| (tag.is_weak, tag.opaque))
    }

    #[test]
    fn rfc9110_8_8_3_a_tag_is_a_quoted_string_weak_or_not() {
        for (text, tag) in [
            (r#""a""#, Some((false, r#""a""#))),
            (r#"W/"a""#, Some((true, r#""a""#))),
            (r#" "a" "#, Some((false, r#""a""#))),
            (r#""""#, Some((false, r#""""#))),
            (r#"W/"""#, Some((true, r#""""#))),
            (r#""a, b""#, Some((false, r#""a, b""#))),
            (r#""ü""#, Some((false, r#""ü""#))),
            // No escapes: a backslash is a character like any other.
            (r#""a\""#, Some((false, r#""a\""#))),
            (r#""a\"b""#, None),
            (r#""open"#, None),
            (r#"""#, None),
            (r#""a""b""#, None),
            (r#""a", "b""#, None),
            (r#"w/"a""#, None),
            (r#"W /"a""#, None),
            ("", None),
            // What careless origins send, and what would match anything.
            ("a", Some((false, "a"))),
            ("W/a", Some((false, "W/a"))),
            ("a, b", None),
            ("*", None),
        ] {
            let tag = tag.map(|(is_weak, opaque)| (is_weak, opaque.as_bytes()));
            assert_eq!(parsed(text), tag, "{text}");
        }
    }

    #[test]
    fn rfc9110_8_8_3_2_tags_compare_strongly_and_weakly() {
        for (one, other, strongly, weakly) in [
            (r#"W/"1""#, r#"W/"1""#, false, true),
            (r#"W/"1""#, r#"W/"2""#, false, false),
            (r#"W/"1""#, r#""1""#, false, true),
            (r#""1""#, r#""1""#, true, true),
            (r#""1""#, r#""2""#, false, false),
            (r#""a""#, r#""A""#, false, false),
            (r#""a""#, "a", false, false),
        ] {
            let tag = |text: &'static str| EntityTag::parse(text.as_bytes()).unwrap();
            for (one, other) in [(tag(one), tag(other)), (tag(other), tag(one))] {
                assert_eq!(one.matches_strongly(other), strongly, "{one:?} {other:?}");
                assert_eq!(one.matches_weakly(other), weakly, "{one:?} {other:?}");
            }
        }
    }

    #[test]
    fn rfc9110_13_1_2_a_list_of_tags_is_read_up_to_what_is_none() {
        for (line, list) in [
            ("", &[][..]),
            (" ,\t, ", &[]),
            (r#""a""#, &[r#""a""#]),
            (r#""a","b" , W/"c""#, &[r#""a""#, r#""b""#, r#""c""#]),
            (r#",, "a",,"b""#, &[r#""a""#, r#""b""#]),
            (r#""a, b", "c""#, &[r#""a, b""#, r#""c""#]),
            (r#""a", "open"#, &[r#""a""#]),
            (r#""a", *, "b""#, &[r#""a""#]),
            (r#""a"b, "c""#, &[]),
        ] {
            assert!(
                tags(line.as_bytes())
                    .map(|tag| tag.opaque)
                    .eq(list.iter().map(|tag| tag.as_bytes())),
                "{line}"
            );
        }
    }
}
