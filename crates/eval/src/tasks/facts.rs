/// A hidden sentence, its question, and the words that an answer must hold.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fact(pub(super) &'static str, pub(super) &'static str, pub(super) &'static [&'static str]);

/// Facts in pairs of one kind: the first of each is for evaluation, the second for calibration.
pub(super) const FACTS: &[Fact] = &[
    // Places.
    Fact(
        "Agnes hides the spare key of the bakery inside a cracked teapot.",
        "Where does Agnes hide the spare key of the bakery?",
        &["teapot"],
    ),
    Fact(
        "Oskar keeps the letters from Lisbon behind the kitchen mirror.",
        "Where does Oskar keep the letters from Lisbon?",
        &["mirror"],
    ),
    Fact(
        "The lost violin of Professor Lindqvist was found in a greenhouse.",
        "Where was the lost violin of Professor Lindqvist found?",
        &["greenhouse"],
    ),
    Fact(
        "The stolen portrait of Lady Ashdown turned up in a laundry.",
        "Where did the stolen portrait of Lady Ashdown turn up?",
        &["laundry"],
    ),
    Fact(
        "The annual chess tournament of Birchwood is held in the fire station.",
        "Where is the annual chess tournament of Birchwood held?",
        &["fire station"],
    ),
    Fact(
        "The winter concert of Elmsford takes place in the swimming pool.",
        "Where does the winter concert of Elmsford take place?",
        &["swimming pool"],
    ),
    Fact(
        "The best place to watch the comet is the roof of the old tannery.",
        "What is the best place to watch the comet?",
        &["tannery"],
    ),
    Fact(
        "The best thing to visit in Marlow is the garden of glass flowers.",
        "What is the best thing to visit in Marlow?",
        &["glass flowers"],
    ),
    Fact(
        "Dr. Pereira buried the time capsule under the walnut tree.",
        "Under which tree did Dr. Pereira bury the time capsule?",
        &["walnut"],
    ),
    Fact(
        "Captain Ames moored the ferry beside the lighthouse at Skarvik.",
        "Beside what did Captain Ames moor the ferry?",
        &["lighthouse"],
    ),
    Fact(
        "Every spring the storks of Hallen nest on the chimney of the brewery.",
        "Where do the storks of Hallen nest every spring?",
        &["brewery"],
    ),
    Fact(
        "In summer the goats of Pellworm sleep in the town library.",
        "Where do the goats of Pellworm sleep in summer?",
        &["library"],
    ),
    // Objects.
    Fact(
        "For her birthday, Marta received a telescope from her uncle.",
        "What did Marta receive from her uncle for her birthday?",
        &["telescope"],
    ),
    Fact("At the fair, Benedikt won a wooden giraffe.", "What did Benedikt win at the fair?", &["giraffe"]),
    Fact(
        "The thief of Fleet Lane left an umbrella at the scene.",
        "What did the thief of Fleet Lane leave at the scene?",
        &["umbrella"],
    ),
    Fact(
        "The visitor from Ghent forgot a saxophone on the train.",
        "What did the visitor from Ghent forget on the train?",
        &["saxophone"],
    ),
    Fact(
        "Tobias trades pumpkins for honey at the Saturday market.",
        "What does Tobias get for his pumpkins at the Saturday market?",
        &["honey"],
    ),
    Fact(
        "Lucinda swaps her old books for cheese every month.",
        "What does Lucinda get for her old books every month?",
        &["cheese"],
    ),
    Fact(
        "The secret ingredient of the soup at the Harbour Inn is cinnamon.",
        "What is the secret ingredient of the soup at the Harbour Inn?",
        &["cinnamon"],
    ),
    Fact(
        "The missing part of the clock in Danby is a copper spring.",
        "What is the missing part of the clock in Danby?",
        &["copper spring"],
    ),
    Fact(
        "The museum of Orford has only one exhibit, a petrified loaf of bread.",
        "What is the only exhibit of the museum of Orford?",
        &["bread"],
    ),
    Fact(
        "The flag of the island of Torvey shows a sleeping hedgehog.",
        "What does the flag of the island of Torvey show?",
        &["hedgehog"],
    ),
    Fact(
        "To open the vault, the guard of Westgate plays a flute.",
        "What does the guard of Westgate play to open the vault?",
        &["flute"],
    ),
    Fact(
        "To calm the horses, the groom of Ravensby burns lavender.",
        "What does the groom of Ravensby burn to calm the horses?",
        &["lavender"],
    ),
    // Numbers.
    Fact(
        "The combination of the safe in the Crimson Room is 7316.",
        "What is the combination of the safe in the Crimson Room?",
        &["7316"],
    ),
    Fact("The password of the north tower is 4952.", "What is the password of the north tower?", &["4952"]),
    Fact(
        "Exactly 384 lanterns were counted at the festival of Nyholm.",
        "How many lanterns were counted at the festival of Nyholm?",
        &["384"],
    ),
    Fact(
        "The orchard of the Delacroix family has 617 pear trees.",
        "How many pear trees does the orchard of the Delacroix family have?",
        &["617"],
    ),
    Fact("The bridge at Corran was opened in 1743.", "In which year was the bridge at Corran opened?", &["1743"]),
    Fact("The bell of Saint Odo was cast in 1692.", "In which year was the bell of Saint Odo cast?", &["1692"]),
    Fact(
        "The recipe of Grandmother Ilse needs 29 eggs.",
        "How many eggs does the recipe of Grandmother Ilse need?",
        &["29"],
    ),
    Fact(
        "The stairs of the Needle Tower have 873 steps.",
        "How many steps do the stairs of the Needle Tower have?",
        &["873"],
    ),
    Fact(
        "The night train to Varna leaves from platform 58.",
        "From which platform does the night train to Varna leave?",
        &["58"],
    ),
    Fact("The parcel for Mr. Quill weighs 46 pounds.", "How many pounds does the parcel for Mr. Quill weigh?", &["46"]),
    // Names.
    Fact(
        "The inventor of the folding piano was Cornelius Wray.",
        "Who was the inventor of the folding piano?",
        &["Wray"],
    ),
    Fact(
        "The first woman to cross the Salt Desert was Edda Norling.",
        "Who was the first woman to cross the Salt Desert?",
        &["Norling"],
    ),
    Fact(
        "The parrot of the post office is called Bartholomew.",
        "What is the parrot of the post office called?",
        &["Bartholomew"],
    ),
    Fact(
        "The oldest elephant of the Carlow circus is called Philomena.",
        "What is the oldest elephant of the Carlow circus called?",
        &["Philomena"],
    ),
    Fact(
        "The mayor of Little Hemming has chosen Rosalind Finch as the new judge.",
        "Whom has the mayor of Little Hemming chosen as the new judge?",
        &["Finch"],
    ),
    Fact(
        "The queen of Averland trusts only her gardener, Thaddeus Moor.",
        "Which gardener does the queen of Averland trust?",
        &["Moor"],
    ),
    Fact(
        "The yacht of the Sandoval brothers is named Silver Otter.",
        "What is the name of the yacht of the Sandoval brothers?",
        &["Otter"],
    ),
    Fact(
        "The house at the end of Juniper Road is named Quiet Corner.",
        "What is the name of the house at the end of Juniper Road?",
        &["Quiet Corner"],
    ),
    // Other.
    Fact(
        "The new uniform of the Alder Street band is orange.",
        "What colour is the new uniform of the Alder Street band?",
        &["orange"],
    ),
    Fact(
        "The door of the observatory on Kestrel Hill is purple.",
        "What colour is the door of the observatory on Kestrel Hill?",
        &["purple"],
    ),
    Fact(
        "The shop of Madame Duval is closed on Wednesday.",
        "On which day is the shop of Madame Duval closed?",
        &["Wednesday"],
    ),
    Fact(
        "The council of Fernley meets only on Thursday.",
        "On which day does the council of Fernley meet?",
        &["Thursday"],
    ),
    Fact(
        "Before he became a poet, Ivo Sand was a plumber.",
        "What was Ivo Sand before he became a poet?",
        &["plumber"],
    ),
    Fact(
        "Before she became a judge, Clara Voss was an acrobat.",
        "What was Clara Voss before she became a judge?",
        &["acrobat"],
    ),
];

/// Facts whose questions put them in other words; pairs as above.
pub(super) const PARAPHRASED: &[Fact] = &[
    Fact(
        "Ottilie has sold her violin and bought a set of drums.",
        "Which instrument can Ottilie now play at home?",
        &["drums"],
    ),
    Fact(
        "Bastian gave away his cello and learned the harmonica.",
        "Which music could you hear from Bastian now?",
        &["harmonica"],
    ),
    Fact(
        "Mr. Fairweather spent his whole career pulling teeth.",
        "What was the profession of Mr. Fairweather?",
        &["teeth"],
    ),
    Fact("Mrs. Okonkwo has repaired shoes since she was sixteen.", "How does Mrs. Okonkwo earn a living?", &["shoes"]),
    Fact("Wilhelmina cannot eat anything that contains peanuts.", "What is Wilhelmina allergic against?", &["peanuts"]),
    Fact("Leopold becomes ill as soon as he swallows shrimp.", "Which food makes Leopold sick?", &["shrimp"]),
    Fact(
        "Desmond grew up with a view of the Eiffel Tower, in Paris.",
        "Which city is the childhood home of Desmond?",
        &["Paris"],
    ),
    Fact(
        "Sunniva learned to walk and talk among the canals of Venice.",
        "Where did Sunniva spend her first years?",
        &["Venice"],
    ),
    Fact(
        "The wedding of Lord Pym had to be moved because of a flood.",
        "Why did Lord Pym marry later than planned?",
        &["flood"],
    ),
    Fact(
        "The journey of Baroness Holt ended early because of a strike.",
        "What made Baroness Holt return home so soon?",
        &["strike"],
    ),
    Fact(
        "Nobody may enter the cellar of Castle Wern, for a bear lives there.",
        "What makes the basement under Castle Wern dangerous?",
        &["bear"],
    ),
    Fact(
        "Do not swim near Cape Duny, where crocodiles sleep in the reeds.",
        "Which threat awaits bathers off Cape Duny?",
        &["crocodiles"],
    ),
    Fact(
        "When Albrecht is nervous he starts to peel oranges.",
        "How can you tell that Albrecht feels anxious?",
        &["oranges"],
    ),
    Fact(
        "When Yolanda is happy she begins to juggle apples.",
        "What shows everyone that Yolanda feels joy?",
        &["apples"],
    ),
    Fact(
        "The whole fortune of Count Severin came from selling buttons.",
        "What made Count Severin rich?",
        &["buttons"],
    ),
    Fact(
        "All the debts of Duke Marlin were caused by collecting butterflies.",
        "How did Duke Marlin lose all his money?",
        &["butterflies"],
    ),
    Fact(
        "Ingrid always travels by balloon, since she fears both ships and trains.",
        "Which vehicle would Ingrid choose for a trip?",
        &["balloon"],
    ),
    Fact(
        "Mortimer crosses the mountains on a camel each autumn.",
        "What does Mortimer ride over the Alps?",
        &["camel"],
    ),
];
