//! How the answers of a key vary, as bytes.

use super::{
    clocks::Clocks,
    fields::{read_names, write_names},
};
use crate::store::{
    Key, MAX_KEY, MOST_SETS, Unreadable, Variants,
    bytes::{Damaged, Reader, Writer},
};

/// `None`: it is not to be kept.
pub(super) fn write_variants(
    out: &mut Writer,
    key: &Key,
    variants: &Variants,
    clocks: Clocks,
) -> Option<()> {
    out.u64(clocks.wall_of(variants.until())?);
    out.count(variants.sets().len(), MOST_SETS)?;
    for names in variants.sets() {
        write_names(out, names)?;
    }
    out.count(variants.known().len(), usize::from(u16::MAX))?;
    for variant in variants.known() {
        out.run(variant_of(key, variant.as_bytes())?)?;
    }
    Some(())
}

pub(super) fn read_variants(
    from: &mut Reader<'_>,
    key: &Key,
    clocks: Clocks,
) -> Result<Variants, Unreadable> {
    let until = clocks.until(from.u64()?)?;
    let sets = (0..from.count(2, MOST_SETS)?).map(|_| read_names(from));
    let sets = sets.collect::<Result<_, _>>()?;
    // A list of keys is one of what to remove as well: it names none but the variants of its own key.
    let known = (0..from.count(4, usize::from(u16::MAX))?)
        .map(|_| variant_of(key, from.run()?).map(Key::from).ok_or(Damaged));
    let known = known.collect::<Result<_, _>>()?;
    Ok(Variants::of(sets, known, until))
}

/// The full key of a variant of `key`, if it is that.
fn variant_of<'v>(key: &Key, variant: &'v [u8]) -> Option<&'v [u8]> {
    let is_one = variant.len() > key.as_bytes().len() && variant.starts_with(key.as_bytes());
    (is_one && variant.len() <= MAX_KEY).then_some(variant)
}
