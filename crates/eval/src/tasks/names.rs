use crate::Split;
use crate::random::Random;

const GIVEN: [&str; 32] = [
    "Ada", "Arne", "Bella", "Boris", "Celia", "Conrad", "Dora", "Diego", "Elsa", "Emil", "Flora", "Felix", "Greta",
    "Gustav", "Helga", "Hugo", "Irma", "Ivan", "Julia", "Jonas", "Klara", "Karl", "Lena", "Leo", "Mina", "Milo",
    "Nora", "Nils", "Olga", "Otto", "Petra", "Pablo",
];

const FAMILY: [&str; 32] = [
    "Abbot", "Archer", "Barker", "Bishop", "Carver", "Cooper", "Dalton", "Dyer", "Ellis", "Fisher", "Forster",
    "Gardner", "Glover", "Harper", "Hunter", "Joiner", "Keller", "Lawson", "Mercer", "Nash", "Osborn", "Parker",
    "Porter", "Quincy", "Ranger", "Sawyer", "Slater", "Tanner", "Turner", "Vickers", "Walker", "Webster",
];

/// `n` people with neither given nor family name in common.
pub(super) fn people(random: &mut Random, split: Split, n: usize) -> Vec<String> {
    let given = random.sample(&split.half(&GIVEN), n);
    let family = random.sample(&split.half(&FAMILY), n);
    given.iter().zip(&family).map(|(given, family)| format!("{given} {family}")).collect()
}
