/// max |ours − theirs| ÷ max |theirs|; infinite if the lengths differ or a number is not finite.
#[must_use]
pub fn relative_error(ours: &[f32], theirs: &[f32]) -> f64 {
    if ours.len() != theirs.len() || ours.iter().chain(theirs).any(|x| !x.is_finite()) {
        return f64::INFINITY;
    }
    let largest = |values: &mut dyn Iterator<Item = f64>| values.fold(0.0, f64::max);
    let difference = largest(
        &mut ours
            .iter()
            .zip(theirs)
            .map(|(a, b)| (f64::from(*a) - f64::from(*b)).abs()),
    );
    let scale = largest(&mut theirs.iter().map(|x| f64::from(x.abs())));
    if difference == 0.0 {
        0.0
    } else {
        difference / scale
    }
}

#[cfg(test)]
mod tests {
    use super::relative_error;

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
