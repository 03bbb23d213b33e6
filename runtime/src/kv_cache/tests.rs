//! Block tables, windows, going back.

use super::*;
use crate::Error;
use proptest::prelude::*;

fn layer(window: Option<usize>, chunk: Option<usize>) -> KvLayer {
    KvLayer {
        heads: 2,
        k_dim: 3,
        v_dim: 5,
        window,
        chunk,
    }
}

fn cache(layers: &[KvLayer], max_tokens: usize) -> KvCache {
    KvCache::new(layers, KvCacheOptions { max_tokens }).unwrap()
}

fn grow(cache: &mut KvCache, id: SequenceId, tokens: usize) -> Result<()> {
    cache.reserve(&[(id, tokens)])?;
    cache.commit([(id, tokens)].into_iter());
    Ok(())
}

#[test]
fn a_full_cache_says_how_full() {
    let mut cache = cache(&[layer(None, None)], 100);
    let (a, b) = (cache.open(100).unwrap(), cache.open(100).unwrap());
    grow(&mut cache, a, 70).unwrap();
    let error = grow(&mut cache, b, 33).unwrap_err();
    assert!(
        matches!(
            error,
            Error::Cache(CacheError::Full {
                capacity: 128,
                used: 96,
                wanted: 64
            })
        ),
        "{error}"
    );
    assert_eq!(cache.len(b), 0);
    grow(&mut cache, b, 32).unwrap();
    cache.close(a);
    grow(&mut cache, b, 60).unwrap();
    assert_eq!(cache.len(b), 92);
}

#[test]
fn a_sequence_keeps_to_the_length_it_was_opened_for() {
    let mut cache = cache(&[layer(None, None)], 64);
    assert!(matches!(
        cache.open(65),
        Err(Error::Cache(CacheError::TooLong {
            length: 65,
            capacity: 64
        }))
    ));
    assert!(cache.open(0).is_err());
    let id = cache.open(10).unwrap();
    grow(&mut cache, id, 8).unwrap();
    assert!(matches!(
        grow(&mut cache, id, 3),
        Err(Error::Cache(CacheError::BeyondLength {
            opened: 10,
            wanted: 11
        }))
    ));
    assert!(cache.reserve(&[(id, 1), (id, 1)]).is_err());
    assert!(cache.reserve(&[(id, 0)]).is_err());
    cache.close(id);
    assert!(cache.reserve(&[(id, 1)]).is_err());
    assert!(cache.truncate(id, 0).is_err());
}

#[test]
fn a_window_layer_holds_little() {
    let mut windowed = cache(&[layer(Some(40), None)], 4096);
    let id = windowed.open(4096).unwrap();
    for _ in 0..4096 {
        grow(&mut windowed, id, 1).unwrap();
    }
    assert_eq!(windowed.bytes(), 3 * BLOCK_SIZE * 2 * 8 * 4);
}

#[test]
fn going_back_needs_what_the_next_token_sees() {
    let mut cache = cache(&[layer(None, None), layer(Some(40), None)], 1000);
    let id = cache.open(1000).unwrap();
    for _ in 0..200 {
        grow(&mut cache, id, 1).unwrap();
    }
    // The last step began at 199 and dropped what lies wholly before 160.
    cache.truncate(id, 199).unwrap();
    assert!(matches!(
        cache.truncate(id, 198),
        Err(Error::Cache(CacheError::Dropped {
            wanted: 198,
            length: 199,
            first: 160
        }))
    ));
    assert!(cache.truncate(id, 200).is_err());
    cache.truncate(id, 0).unwrap();
    assert_eq!(cache.pools.iter().map(Pool::in_use).sum::<usize>(), 0);
    grow(&mut cache, id, 77).unwrap();
    assert_eq!(cache.len(id), 77);
}

proptest! {
    /// Whatever is opened, grown, cut and closed: every position that a later token can see has a block, no block is
    /// held twice, and closing gives all back.
    #[test]
    fn tables_hold_what_is_seen_and_share_nothing(
        window in prop::option::of(1_usize..100),
        chunk in prop::option::of(1_usize..100),
        actions in prop::collection::vec((0_usize..3, 0_usize..6, 1_usize..90), 1..60),
    ) {
        let mut cache = cache(&[layer(None, None), layer(window, chunk)], 400);
        let ids: Vec<_> = (0..3).map(|_| cache.open(300).unwrap()).collect();
        for (which, action, amount) in actions {
            let id = ids[which];
            let before = cache.len(id);
            if action == 0 {
                let ok = cache.truncate(id, before.saturating_sub(amount)).is_ok();
                prop_assert!(ok || cache.len(id) == before);
            } else if grow(&mut cache, id, amount).is_err() {
                prop_assert_eq!(cache.len(id), before);
            }
            for pool in 0..cache.pools.len() {
                let mut held = Vec::new();
                for id in &ids {
                    let sequence = cache.sequence(*id).unwrap();
                    let first = cache.pools[pool].reach.first_seen(sequence.len);
                    for position in first..sequence.len {
                        prop_assert!(sequence.tables[pool].block(position / BLOCK_SIZE).is_some(), "{position}");
                    }
                    held.extend((0..20).filter_map(|index| sequence.tables[pool].block(index)));
                }
                let count = held.len();
                held.sort_unstable();
                held.dedup();
                prop_assert_eq!(held.len(), count);
                prop_assert_eq!(cache.pools[pool].in_use(), count);
            }
        }
        ids.iter().for_each(|id| cache.close(*id));
        prop_assert_eq!(cache.pools.iter().map(Pool::in_use).sum::<usize>(), 0);
        prop_assert!(cache.is_empty());
    }
}
