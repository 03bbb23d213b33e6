/// max |ours − theirs| ÷ max |theirs|; infinite if the lengths differ or a number is not finite.
#[must_use]
pub fn relative_error(ours: &[f32], theirs: &[f32]) -> f64 {
    if ours.len() != theirs.len() || ours.iter().chain(theirs).any(|x| !x.is_finite()) {
        return f64::INFINITY;
    }
    let difference = difference(ours, theirs);
    if difference == 0.0 {
        0.0
    } else {
        difference / relative_to(theirs)
    }
}

/// The median over rows of `width` numbers of a row's largest |ours − theirs| ÷ max |theirs| of all rows: what most
/// positions are off by, when a few may have gone another way. Infinite as [`relative_error`] is.
#[must_use]
pub fn typical_error(ours: &[f32], theirs: &[f32], width: usize) -> f64 {
    if relative_error(ours, theirs).is_infinite() || width == 0 {
        return f64::INFINITY;
    }
    let scale = relative_to(theirs);
    let mut rows: Vec<f64> = ours
        .chunks(width)
        .zip(theirs.chunks(width))
        .map(|(ours, theirs)| difference(ours, theirs))
        .collect();
    rows.sort_by(f64::total_cmp);
    match rows.get(rows.len() / 2) {
        Some(middle) if *middle > 0.0 => middle / scale,
        _ => 0.0,
    }
}

/// The largest |ours − theirs|.
fn difference(ours: &[f32], theirs: &[f32]) -> f64 {
    let each = ours.iter().zip(theirs);
    each.map(|(a, b)| (f64::from(*a) - f64::from(*b)).abs())
        .fold(0.0, f64::max)
}

/// The largest |theirs|.
fn relative_to(theirs: &[f32]) -> f64 {
    theirs
        .iter()
        .map(|x| f64::from(x.abs()))
        .fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::{relative_error, typical_error};

    #[test]
    fn one_row_that_went_another_way_is_not_typical() {
        let theirs = [1.0, 10.0, 2.0, 3.0, 4.0, 5.0];
        let ours = [1.0, 10.0, 9.0, 3.0, 4.0, 5.5];
        assert!((relative_error(&ours, &theirs) - 0.7).abs() < 1e-12);
        assert!((typical_error(&ours, &theirs, 2) - 0.05).abs() < 1e-12);
        assert!(typical_error(&ours, &ours, 2) == 0.0);
        assert!(typical_error(&ours[1..], &theirs, 2).is_infinite());
        assert!(typical_error(&[f32::NAN], &[1.0], 1).is_infinite());
    }

    #[test]
    fn measures_the_largest_difference_against_the_largest_value() {
        assert!((relative_error(&[1.0, -8.0], &[1.5, -10.0]) - 0.2).abs() < 1e-12);
        assert!(relative_error(&[0.0], &[0.0]) == 0.0);
    }

    #[test]
    fn wrong_lengths_and_numbers_are_infinitely_wrong() {
        assert!(relative_error(&[1.0], &[1.0, 2.0]).is_infinite());
        assert!(relative_error(&[f32::NAN], &[1.0]).is_infinite());
        assert!(relative_error(&[1.0], &[0.0]).is_infinite());
    }
}
