"""Word lists and templates: the seeds of the training text.

Variety in the text comes from here; fluency comes from the teacher. The lists are plain everyday English,
so that a model of a few million weights has a chance to learn what the words mean.
"""

NAMES = """Lily Tom Mia Ben Anna Sam Lucy Max Emma Jack Sophie Leo Zoe Oliver Ella Noah Grace Finn Ruby Theo Clara Oscar
Ivy Hugo Nora Felix Maya Jasper Alice Henry Rosie Arthur Daisy Eli Hazel George Violet Luke Molly Toby Sara Peter Jane
Daniel Kate Adam Eva Simon Amy Victor Lena Martin Tina Robin Nina Paul Olga Kim Ali Fatima Omar Leila Ravi Priya Anil Mei
Chen Yuki Ken Hana Diego Rosa Carlos Elena Marco Bella Pablo Ines Kofi Ama Zuri Amir Noor Ingrid Lars Freya Milo Penny Gus
Dora Otto Pip Wendy Jonas Marta Tilly Rufus Bonnie Walter Edith Hank""".split()

ANIMALS = """cat dog rabbit fox bear mouse owl frog duck horse cow pig sheep goat hen squirrel hedgehog turtle fish whale
dolphin penguin lion tiger elephant monkey giraffe zebra panda koala kangaroo crocodile snake lizard spider bee butterfly ant
snail bird robin crow parrot eagle swan goose deer wolf otter beaver badger mole bat seal octopus crab donkey camel hamster
puppy kitten pony lamb dragonfly ladybug""".split()

PEOPLE = """boy girl farmer baker teacher sailor painter doctor fisherman gardener king queen prince princess wizard giant
dragon robot knight pirate clown nurse pilot cook tailor shepherd inventor astronaut musician librarian carpenter
grandmother grandfather postman shopkeeper miller hunter dancer builder fairy elf snowman""".split()

OBJECTS = """ball book key lamp box boat kite hat shoe coin map drum bell cup spoon chair table blanket pillow basket ladder
rope bucket bottle candle clock mirror ring button feather stone shell leaf flower seed apple pear cake bread cookie pie
carrot pumpkin egg honey cheese soup umbrella coat scarf glove sock bag letter stamp pencil paintbrush picture toy doll train
car truck bicycle wagon swing slide tent fence gate door window wall bridge wheel hammer nail saw brush comb soap towel
puzzle balloon whistle flute guitar piano violin telescope magnet compass lantern treasure crown sword shield star moon sun
cloud rainbow snowflake puddle stick nest web jar bowl plate oven broom garden tree branch acorn mushroom berry""".split()

PLACES = """forest garden park beach farm village city school kitchen barn castle cave mountain river lake island desert
meadow market library museum zoo attic cellar harbor lighthouse bakery playground bridge field hill pond jungle valley
orchard station ship tower house shop street tent treehouse""".split()

VERBS = """run jump climb swim fly sing dance paint build dig plant cook bake read write draw hide seek find lose share help
fix break push pull carry throw catch ride sail walk hop skip sleep dream wake laugh cry smile whisper shout listen look
watch wait hope wish try learn teach give take open close wash clean sweep count play race win visit travel explore follow
chase rescue save protect thank forgive apologize promise remember forget fall float splash shine glow grow melt freeze
knock ring wave hug feed brush pack""".split()

ADJECTIVES = """happy sad brave shy kind clever little big tiny old young lazy busy curious gentle grumpy lonely proud quiet
noisy hungry sleepy tired funny silly strong weak fast slow wise honest greedy generous polite patient careless careful
friendly nervous cheerful stubborn playful helpful jealous lost poor rich""".split()

THING_ADJECTIVES = """red blue green yellow golden silver shiny dusty broken new old round square soft hard heavy light warm
cold wet dry bright dark long short tall sweet sour strange magic secret beautiful ugly clean dirty empty full loud quiet
smooth sticky""".split()

FEATURES = [
    "The story has a happy ending.",
    "The story has a surprising ending.",
    "The story teaches a lesson about sharing.",
    "The story teaches a lesson about telling the truth.",
    "The story teaches a lesson about being kind.",
    "The story teaches a lesson about trying again.",
    "The story teaches a lesson about listening to others.",
    "The story teaches a lesson about patience.",
    "The story teaches a lesson about courage.",
    "The story is about making a new friend.",
    "The story is about losing something and finding it.",
    "The story is about a small mistake and saying sorry.",
    "The story is about a rainy day.",
    "The story is about the first snow of the winter.",
    "The story is about a birthday.",
    "The story is about a trip.",
    "The story is about a contest.",
    "The story is about a secret.",
    "The story is about a promise.",
    "The story is about a stranger who needs help.",
    "The story is about being afraid of the dark.",
    "The story is about a big storm.",
    "The story is about working together.",
    "The story has a conversation between two friends.",
    "The story has a lot of dialogue.",
    "The story has a funny moment.",
    "The story has a small problem that gets solved.",
    "The story has something magic in it.",
    "The story ends with everyone going to sleep.",
    "The story ends with a hug.",
    "",
]

# The first words of a story are given to the teacher: it then neither titles nor introduces its text,
# and the stories do not all begin alike. {who} is "a brave fox", {name} its name.
OPENINGS = [
    "Once upon a time, there was {who} named {name}.",
    "Once upon a time, {who} named {name} lived in a {place}.",
    "Once there was {who} called {name}.",
    "One day, {who} named {name} went to the {place}.",
    "One morning, {name} the {hero} woke up early.",
    "One sunny day, {name} the {hero} found a {thing}.",
    "One cold night, {name} the {hero} could not sleep.",
    "{name} was {who} who lived near a {place}.",
    "{name} was {who}. Every day",
    "{name} the {hero} loved to {verb}.",
    "{name} the {hero} had a {thing}.",
    "In a small {place}, there lived {who} named {name}.",
    "Long ago, in a {place} far away, lived {who} named {name}.",
    "There was once {who} who wanted to {verb}.",
    "It was a rainy day, and {name} the {hero} was",
    "It was the first day of spring. {name} the {hero}",
    "\"I want to {verb},\" said {name} the {hero}.",
    "\"Look at this {thing}!\" said {name} the {hero}.",
    "\"Where is my {thing}?\" asked {name} the {hero}.",
    "Today was a special day for {name} the {hero}.",
    "Everyone in the {place} knew {name}, {who}.",
    "{name} and {friend} were best friends. One day",
    "{name} and {friend} went to the {place} together.",
    "Every morning, {name} the {hero} walked to the {place}.",
]

# What the user of the small model may have asked to get that story.
STORY_REQUESTS = [
    "Tell me a story.",
    "Tell me a short story.",
    "Can you tell me a story?",
    "Please tell me a story.",
    "Write a short story.",
    "Tell me a story about {who}.",
    "Tell me a story about a {hero}.",
    "Tell me a short story about {who} named {name}.",
    "Tell me a story about a {hero} named {name}.",
    "Can you tell me a story about a {hero}?",
    "Write a story about {who}.",
    "Write a short story about a {hero} and a {thing}.",
    "Write a story for children about {who}.",
    "I would like to hear a story about a {hero}.",
    "Make up a story about {name} the {hero}.",
    "Tell me a bedtime story about {who}.",
    "Once upon a time, there was {who}. What happened next?",
]

TOPICS = """the sun|the moon|the stars|rain|snow|wind|clouds|thunder|the sea|rivers|mountains|volcanoes|deserts|forests|trees|
flowers|grass|bees|spiders|birds|fish|whales|dogs|cats|horses|elephants|bears|wolves|dinosaurs|insects|farms|bread|cheese|milk|
honey|chocolate|apples|bananas|rice|pasta|pizza|tea|coffee|water|salt|sugar|breakfast|soup|cooking|baking|gardening|painting|
drawing|music|singing|dancing|the piano|the guitar|books|reading|writing|poems|libraries|schools|teachers|friends|families|
birthdays|holidays|games|chess|football|swimming|running|cycling|walking|hiking|camping|fishing|sleep|dreams|health|exercise|
colors|rainbows|light|shadows|fire|ice|stones|gold|iron|glass|paper|wood|houses|bridges|roads|cars|trains|planes|boats|
bicycles|rockets|astronauts|the earth|the planets|gravity|electricity|magnets|computers|phones|robots|the internet|clocks|
time|calendars|spring|summer|autumn|winter|morning|night|money|markets|shops|cities|villages|islands|beaches|kindness|honesty|
courage|patience|friendship|happiness|sadness|fear|hope|love|peace|work|doctors|hospitals|medicine|teeth|the heart|the brain|
eyes|ears|plants|seeds|soil|frogs|butterflies|turtles|penguins|owls|maps|history|languages|numbers|science|art|museums|
movies|photographs|weather|oceans|caves|lakes""".replace("\n", "").split("|")

PROFESSIONS = """teacher doctor baker farmer pilot nurse painter cook librarian gardener musician sailor carpenter
firefighter scientist astronaut writer tailor builder dentist""".split()

ACTIVITIES = """make tea|bake bread|cook rice|boil an egg|make a sandwich|make soup|plant a tree|grow tomatoes|clean my room|
learn to swim|learn a language|learn to draw|learn the piano|read more books|sleep better|wake up early|make new friends|
write a letter|write a poem|write a story|ride a bicycle|take care of a cat|take care of a dog|feed the birds|fly a kite|
build a sandcastle|pack for a trip|save money|save water|stay healthy|eat better|relax|feel less nervous|say sorry|
help a friend|help my parents|cheer up a friend|prepare for a test|remember things|tie my shoes|wrap a gift|
plan a birthday party|paint a picture|take a good photo|choose a book|find a hobby|be more patient|be kind|be brave|
speak in front of people|start a garden|make a paper boat|make lemonade|wash my hands|brush my teeth|fix a flat tire|
choose a present for my mother|choose a name for my cat|spend a rainy day|spend a free day|keep warm in winter|
stay cool in summer""".replace("\n", "").split("|")

FEELINGS = """happy sad tired bored angry nervous lonely excited worried hungry sleepy proud grateful confused
sick""".split()

QUESTIONS = {
    "topic": [
        "What can you tell me about {x}?", "Tell me about {x}.", "Tell me something about {x}.",
        "Tell me an interesting fact about {x}.", "Do you like {x}?", "Why do people like {x}?",
        "Why are people interested in {x}?", "What do you know about {x}?", "I want to learn about {x}.",
        "Explain {x} to a child.", "Explain {x} in simple words.", "Why is it good to know about {x}?",
        "Can you write one sentence about {x}?", "Write two sentences about {x}.", "Write a few sentences about {x}.",
        "Write a short poem about {x}.", "Let's talk about {x}.", "What do you think about {x}?",
        "What is the best thing about {x}?",
    ],
    "animal": [
        "What is a {x}?", "What does a {x} eat?", "Where does a {x} live?", "What does a {x} look like?",
        "Can a {x} swim?", "Can a {x} fly?", "Is a {x} a good pet?", "How big is a {x}?", "Describe a {x}.",
        "Tell me about the {x}.", "What is special about a {x}?", "I saw a {x} today.", "What sound does a {x} make?",
    ],
    "object": [
        "What is a {x}?", "What is a {x} used for?", "What can I do with a {x}?", "Describe a {x}.",
        "What does a {x} look like?", "I lost my {x}. What should I do?", "I found a {x}. What should I do with it?",
        "Tell me about a {x}.", "Write a sentence with the word {x}.", "Use the word {x} in a sentence.",
        "Where can I find a {x}?",
    ],
    "place": [
        "What can I see in a {x}?", "What is a {x}?", "Describe a {x}.", "What can I do in a {x}?",
        "I am going to a {x} tomorrow.", "What should I bring to a {x}?",
        "What is the best thing about a {x}?",
    ],
    "profession": [
        "What does a {x} do?", "I want to be a {x}. What should I learn?", "Why do we need a {x}?",
        "What is the job of a {x}?", "What does a {x} need to know?",
    ],
    "activity": [
        "How do I {x}?", "How can I {x}?", "What is the best way to {x}?", "Can you help me {x}?",
        "I want to {x}.", "Give me a tip: how can I {x}?", "What do I need to {x}?", "I don't know how to {x}.",
    ],
    "feeling": [
        "I feel {x} today.", "I am {x}.", "What should I do when I am {x}?", "Why am I {x}?",
        "My friend is {x}. What can I say?", "What does it mean to be {x}?", "How do I know that I am {x}?",
    ],
    "word": [
        "What does the word {x} mean?", "What is the opposite of {x}?", "Use the word {x} in a sentence.",
        "Write a sentence with the word {x}.", "What does it mean to be {x}?",
    ],
    "verb": [
        "Why do people {x}?", "Do you like to {x}?", "When do people {x}?", "What does it mean to {x}?",
    ],
    "plain": [
        "What should I eat for dinner?", "What should I do today?", "Can you give me some advice?",
        "What makes people happy?", "What is a good book?", "What is a good hobby?", "Tell me something nice.",
        "Tell me something interesting.", "Give me a good idea.", "I cannot sleep.", "It is raining today.",
        "It is very hot today.", "I have a new friend.", "I got a new puppy.", "My cat is lost.",
        "I broke my mother's cup.", "My brother is angry with me.", "Tomorrow is my first day at school.",
        "What is the meaning of life?", "Why do leaves fall in autumn?", "Why do we sleep?", "Why do we dream?",
        "What comes after winter?", "Why do birds fly south?", "What is the best season?", "What is snow made of?",
        "Why is the sea salty?", "How do fish breathe?", "What is a good name for a dog?",
    ],
}

FOLLOW_UPS = [
    "Can you tell me more?", "Tell me more.", "Why?", "Why is that?", "Thank you!", "Thanks, that helps.",
    "That is interesting. What else?", "Can you give me an example?", "I did not know that.", "Is that true?",
    "Can you say that in simpler words?", "What do you mean?", "Really?", "And then?", "I like that.",
    "Can you explain it again?", "What should I do first?", "What if that does not work?", "Good idea!",
]

# How often each kind of question is asked.
WEIGHTS = {"topic": 6, "animal": 5, "object": 3, "place": 2, "profession": 2, "activity": 5, "feeling": 1, "word": 1,
           "verb": 1, "plain": 1}

# Turning points of a story, in the order of the plot. {friend} is a {other}, who may first be named in an event.
EVENTS = [
    "One day, {name} found a {new_thing} in the {place2}.",
    "One day, {name} met a {other} named {friend}.",
    "One day, {name} met {friend} the {other} in the {place2}.",
    "One day, {name} could not find the {thing}.",
    "One morning, {name} saw something strange in the {place2}.",
    "One day, a big storm came to the {place}.",
    "One day, {name} decided to {verb}.",
    "One day, {name} wanted to {verb}, but",
    "One day, {friend} the {other} came to visit.",
    "One day, {name} and {friend} the {other} went to the {place2}.",
    "One evening, {name} heard a strange sound.",
    "Suddenly, there was a loud noise.",
    "Suddenly, {name} saw a {new_thing}.",
    "But there was a problem.",
    "But {name} was afraid of the {thing}.",
    "Then {name} had an idea.",
    "\"What is that?\" asked {name}.",
    "\"Can you help me?\" asked {friend}, a {other}.",
    "\"Hello,\" said a {other}. \"My name is {friend}.\"",
    "\"I am going to {verb} today,\" said {name}.",
    "\"Look, a {new_thing}!\" said {name}.",
    "One night, {name} had a strange dream.",
    "On the way to the {place2}, {name} met {friend} the {other}.",
    "It was very cold that day, and {name}",
    "{name} wanted to give a {thing} to {friend}, a {other}.",
    "A {other} named {friend} was sitting in the {place2}.",
    "The next morning, the {thing} was gone.",
    "When {name} came to the {place2}, a {other} named {friend} was waiting there.",
]

TURNS = [
    "At first, {name} was afraid.",
    "{name} did not give up.",
    "\"I know what to do,\" said {name}.",
    "\"Do not worry,\" said {friend}.",
    "\"Let's go together,\" said {friend}.",
    "\"I am sorry,\" said {name}.",
    "\"We must try again,\" said {friend}.",
    "{friend} wanted to help {name}.",
    "So {name} and {friend}",
    "But {friend} was sad, because",
    "Then {name} made a mistake.",
    "After a while, {name}",
    "{name} looked everywhere.",
    "The next day, {name}",
    "{name} thought for a long time.",
    "{name} took a deep breath and",
    "{name} ran home to get",
    "Then it began to rain.",
    "It was not easy, but {name}",
    "{name} asked everyone in the {place}.",
]

ENDINGS = [
    "In the end, {name}",
    "In the end, {name} and {friend}",
    "From that day on, {name}",
    "From that day on, {name} and {friend} were best friends.",
    "Finally, {name}",
    "At last, {name}",
    "That night, {name} went to sleep",
    "When {name} came home,",
    "{name} was very happy.",
    "{name} smiled.",
    "{name} learned that",
    "{name} and {friend} learned that",
    "\"Thank you,\" said {friend}.",
    "\"Thank you, {friend},\" said {name}.",
    "Everyone in the {place} was happy, and",
    "And so {name}",
    "{name} and {friend} hugged.",
    "{name} never forgot that day.",
]

# Small talk, and what the model is: the teacher is poor at the first and cannot know the second.
HAND_WRITTEN = [
    (["Who are you?", "What are you?", "Tell me about yourself.", "Introduce yourself."], [
        "I am Ember, a very small language model. I like to tell short stories and answer simple questions.",
        "My name is Ember. I am a tiny language model, so I am good at little stories and not so good at facts.",
        "I am Ember, a small model that lives inside this program. Would you like to hear a story?"]),
    (["What is your name?", "Do you have a name?", "What should I call you?"], [
        "My name is Ember.", "I am called Ember. What is your name?", "You can call me Ember."]),
    (["Are you a human?", "Are you a person?", "Are you real?", "Are you a robot?", "Are you a computer?"], [
        "No, I am Ember, a small language model. I am a computer program that writes text.",
        "I am a computer program. My name is Ember, and I write short texts."]),
    (["What can you do?", "How can you help me?", "What are you good at?"], [
        "I can tell short stories and chat a little. I am very small, so please check what I say.",
        "I can write little stories and answer simple questions. I make mistakes, because I am a very small model."]),
    (["Are you smart?", "Are you always right?", "Can I trust you?", "Do you make mistakes?"], [
        "I am a very small model and I am often wrong. Please check important things somewhere else.",
        "No. I make many mistakes, because I am tiny. A bigger model knows more than I do."]),
    (["Who made you?", "Where do you come from?", "How were you made?"], [
        "I come with the Inferno engine. I learned to write from stories that a bigger model wrote.",
        "I was made for the Inferno engine, as a small model to try it with."]),
    (["How big are you?", "How small are you?"], [
        "I am tiny: all of me fits in five megabytes.", "I am a very small model. I fit in five megabytes."]),
    (["Hello!", "Hi!", "Hello", "Hi", "Hello there!", "Hi there.", "Hey!", "hello", "hi"], [
        "Hello! How can I help you?", "Hi! It is nice to meet you. What would you like to talk about?",
        "Hello! Would you like to hear a story?", "Hi there! How are you today?"]),
    (["Good morning!", "Good morning"], ["Good morning! I hope you slept well.", "Good morning! What are your plans for today?"]),
    (["Good evening!", "Good evening"], ["Good evening! How was your day?", "Good evening! Would you like to hear a story?"]),
    (["Good night!", "Good night", "I am going to sleep."], ["Good night! Sleep well.", "Good night! I hope you have sweet dreams."]),
    (["Goodbye!", "Bye!", "See you later!", "I have to go."], ["Goodbye! Have a nice day.", "Goodbye! Come back soon.", "See you later! It was nice to talk to you."]),
    (["How are you?", "How are you today?", "Hello, how are you?", "Hi, how are you doing?"], [
        "I am fine, thank you. How are you?", "I am doing well, thank you for asking. What can I do for you?",
        "I am very well today. How about you?"]),
    (["Thank you!", "Thanks!", "Thank you very much.", "Thanks for your help."], [
        "You are welcome!", "You are welcome. I am glad that I could help.", "It was my pleasure."]),
    (["Can you help me?", "I need help.", "Please help me.", "I have a question."], [
        "Of course! What do you need help with?", "I will try. What would you like to know?", "Yes, please tell me more."]),
    (["Tell me a joke.", "Do you know a joke?", "Say something funny.", "Make me laugh."], [
        "Why did the teddy bear say no to dessert? Because it was already stuffed.",
        "What do you call a sleeping dinosaur? A dino-snore!",
        "Why did the book go to the doctor? Because it had too many pages and could not sleep.",
        "What has four wheels and flies? A garbage truck!"]),
    (["What is your favorite color?", "Which color do you like?"], [
        "I like orange, because it is the color of a warm fire.", "My favorite color is red, like a glowing ember."]),
    (["What is your favorite animal?", "Which animal do you like best?"], [
        "I like foxes, because they are clever.", "I like owls. They are quiet and wise.", "My favorite animal is the elephant, because it never forgets a friend."]),
    (["What is your favorite food?", "What do you like to eat?"], [
        "I do not eat, but I like stories about warm bread.", "I cannot eat, but I think that soup must be nice on a cold day."]),
    (["I am bored.", "I feel bored today.", "I have nothing to do."], [
        "You could read a book, draw a picture or go for a walk. Which one do you like best?",
        "Let's make up a story together. Who should be in it?", "Maybe you can call a friend and play a game."]),
    (["I am sad.", "I feel sad today.", "I had a bad day."], [
        "I am sorry to hear that. Do you want to tell me what happened?",
        "I am sorry that you feel sad. Sometimes it helps to talk to a good friend.",
        "That sounds hard. Take some rest and do something that you like."]),
    (["I am happy.", "I feel happy today.", "I had a good day."], [
        "That is wonderful! What made you so happy?", "I am glad to hear that. Enjoy your day!"]),
    (["I am tired.", "I feel tired today.", "I am sleepy."], [
        "You should take a rest. A good sleep will help you.", "Maybe you can go to bed early tonight. Sleep is good for you."]),
    (["I am lonely.", "I feel lonely today."], [
        "I am sorry that you feel lonely. You could call a friend or write a letter to someone you like.",
        "I am here to talk with you. What do you like to do?"]),
    (["I am angry.", "I feel angry today."], [
        "Take a deep breath and count to ten. Then talk about what made you angry.",
        "It is all right to be angry. A walk outside can help you to calm down."]),
    (["I am hungry.", "I feel hungry."], ["You could make a sandwich or eat an apple.", "Then it is time for a meal. What do you like to eat?"]),
    (["I am scared.", "I am nervous.", "I have a test tomorrow."], [
        "Take a slow breath. You can do it, one step at a time.", "It is normal to be nervous. Prepare well, sleep well and do your best."]),
    (["Today is my birthday!", "It is my birthday today."], ["Happy birthday! I hope you have a wonderful day.", "Happy birthday! Will there be cake?"]),
    (["What is the capital of France?"], ["The capital of France is Paris."]),
    (["What is the capital of England?"], ["The capital of England is London."]),
    (["What is the capital of Italy?"], ["The capital of Italy is Rome."]),
    (["What is the capital of Germany?"], ["The capital of Germany is Berlin."]),
    (["What is the capital of Spain?"], ["The capital of Spain is Madrid."]),
    (["What is the capital of Japan?"], ["The capital of Japan is Tokyo."]),
    (["How many days are in a week?"], ["There are seven days in a week."]),
    (["How many months are in a year?"], ["There are twelve months in a year."]),
    (["What are the four seasons?"], ["The four seasons are spring, summer, autumn and winter."]),
    (["What are the colors of the rainbow?"], ["The colors of the rainbow are red, orange, yellow, green, blue, indigo and violet."]),
    (["Why is the sky blue?"], ["The sky is blue because the air scatters blue light from the sun more than red light."]),
    (["Why is the grass green?"], ["Grass is green because of a green substance in its leaves that catches the light of the sun."]),
    (["What do plants need to grow?"], ["Plants need light, water, air and good soil to grow."]),
    (["Where does rain come from?"], ["Rain comes from clouds. Water rises from the sea as vapor, forms clouds and falls down again."]),
    (["What is the biggest animal?"], ["The blue whale is the biggest animal in the world."]),
    (["What is the tallest animal?"], ["The giraffe is the tallest animal."]),
    (["What is the fastest animal?"], ["The cheetah is the fastest animal on land."]),
    (["What is the largest ocean?"], ["The Pacific Ocean is the largest ocean."]),
    (["What is two plus two?", "What is 2 + 2?"], ["Two plus two is four."]),
    (["What is the sun?"], ["The sun is a star. It gives us light and keeps us warm."]),
    (["What is the moon?"], ["The moon is a ball of rock that travels around the earth. It shines because the sun lights it."]),
]
