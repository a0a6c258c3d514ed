"""The texts behind every golden: queries and passages written for this project, and the odd inputs real traffic brings.

Facts in them are meant to be plausible, not to be relied on. Knows nothing of tokenizers or models.
"""

# (a question, a keyword query, two passages that answer them)
TOPICS = [
    (
        "how long should bread dough rise",
        "sourdough proofing time fridge",
        "Most yeasted doughs double in one to two hours at room temperature. In a cool kitchen the first rise may take three. Watch the dough rather than the clock: press a floured finger into it, and if the dent fills slowly and only part of the way, the dough is ready to be shaped. A second, shorter rise follows in the tin.",
        "A sourdough can be shaped in the evening and left in the fridge overnight. Between eight and sixteen hours at four degrees the wild yeast slows down while the bacteria go on making acid, so the loaf gains flavour and is easier to score. Bake it straight from the cold; it needs no time on the counter.",
    ),
    (
        "why do leaves change colour in autumn",
        "chlorophyll carotenoids anthocyanin autumn",
        "Green leaves owe their colour to chlorophyll, which a tree renews all summer. When days shorten, a corky layer grows at the base of the leaf stalk, the supply stops and the green fades. The yellow and orange pigments, carotenoids, were there all along. Reds are different: anthocyanins are made afresh from sugar trapped in the leaf.",
        "Bright autumns follow sunny days and cool nights without frost. Sugar made in daylight cannot leave the leaf after dark, and the maple turns part of it into red pigment. In a warm, wet October the same tree goes brown within a week and drops its leaves in the first storm.",
    ),
    (
        "what causes ocean tides",
        "spring tide neap tide moon",
        "Tides are raised chiefly by the moon, whose pull is a little stronger on the near side of the earth than on the far side. The difference stretches the ocean into two bulges, and as the earth turns beneath them most coasts see two high waters and two low waters in just under twenty-five hours.",
        "At new and full moon the sun pulls along the same line as the moon, and the range between high and low water is largest: a spring tide. At the quarters the two pulls work across each other and the range is smallest, a neap tide. The name has nothing to do with the season.",
    ),
    (
        "how to prune an apple tree in winter",
        "apple tree pruning dormant spurs",
        "Prune apple trees while they are dormant, between leaf fall and bud break, on a dry day above freezing. Take out dead, diseased and crossing branches first. Then open the middle of the crown so that light reaches the fruit. Remove no more than a fifth of the wood in one winter, or the tree answers with a thicket of upright shoots.",
        "Fruit grows on short, knobbly side shoots called spurs, on wood that is at least two years old. Shorten the leading shoots by a third to a bud that faces outwards; this makes the lower buds turn into spurs. Old spur systems become crowded after ten years and should be thinned to three or four buds each.",
    ),
    (
        "how does a heat pump heat a house",
        "heat pump coefficient of performance cold weather",
        "A heat pump is a refrigerator run backwards. A cold liquid takes up heat from the outside air and boils; a compressor squeezes the vapour, which makes it hot; indoors it gives its heat to the water of the radiators and condenses again. Because the heat is moved rather than made, one unit of electricity yields three or four of warmth.",
        "The colder it is outside and the hotter the radiators must be, the less a heat pump gains. At seven degrees and a flow of thirty-five it may deliver five times the electricity it draws; at minus ten and a flow of fifty-five, only twice. Large radiators or floor heating are therefore worth more than a bigger machine.",
    ),
    (
        "when was the printing press invented",
        "gutenberg movable type mainz",
        "Johannes Gutenberg, a goldsmith of Mainz, printed with movable metal type from about 1450. His Latin Bible with forty-two lines to a page was finished by 1455 in some hundred and eighty copies. What was new was not the press, which came from the vineyards, but the mould in which one workman could cast thousands of equal letters.",
        "Printing from movable type was known in East Asia centuries earlier. Bi Sheng set clay characters in China in the 1040s, and a Korean book of 1377 was printed with cast bronze type. With thousands of characters, however, a block carved for each page often remained the cheaper way, and the methods lived side by side.",
    ),
    (
        "symptoms of vitamin d deficiency",
        "vitamin d bone pain tiredness supplements",
        "A lack of vitamin D is often silent. When it lasts, people complain of tiredness, aching bones and weak thighs that make stairs hard to climb. Children may grow bowed legs. A blood test tells; those who see little sun in winter, cover their skin or are over seventy are most likely to have too little.",
        "The skin makes vitamin D when the sun stands high enough for the shadow to be shorter than the body. North of the fiftieth parallel that is not so from October to March. Oily fish, egg yolk and fortified milk help, but a small daily tablet is the usual advice for the dark months.",
    ),
    (
        "how to reset a forgotten router password",
        "router factory reset default password",
        "Look for a small hole marked Reset on the back of the router. While it is switched on, hold the button inside with a paper clip for about ten seconds, until all lights blink. The router forgets every setting and comes back with the name and password printed on its label. Write the new one down this time.",
        "Before you reset the box, try its label: many owners never changed the first password. If you can still log in from a computer that remembers it, open the page of the router at its local address, choose Administration, and set a new password there; port forwards and the name of the wireless network are kept.",
    ),
    (
        "what is a mutex in programming",
        "mutex deadlock lock ordering",
        "A mutex lets one thread at a time into a piece of code. A thread locks it, works on the shared data, and unlocks it; another that comes meanwhile waits. Keep the locked part short and never call unknown code while you hold the lock. In Rust the data lives inside the mutex, so it cannot be touched without locking.",
        "Two threads that take the same two locks in different orders can wait for each other for ever. The cure is dull and certain: give the locks an order and always take them in it. Where that is not possible, take the second with a time limit, and let go of the first when it fails.",
    ),
    (
        "best time to visit iceland for northern lights",
        "northern lights iceland season clouds",
        "The northern lights need darkness and a clear sky. In Iceland the nights are dark enough from early September to the middle of April. Most travellers do best around the equinoxes, when storms on the sun disturb the earth's field more often and the weather is milder than in January. Allow at least four nights.",
        "Clouds spoil more nights in Reykjavik than a quiet sun does. Look at the cloud map of the weather service, not only at the aurora forecast, and be ready to drive an hour. Leave the lamps of the town behind, give your eyes ten minutes, and set the camera to a few seconds on a tripod.",
    ),
    (
        "how do vaccines work",
        "vaccine antibodies memory cells",
        "A vaccine shows the immune system a harmless piece of a germ. Cells that happen to fit the piece multiply; some make antibodies, others live on for years as memory. When the real germ arrives, the answer takes days instead of weeks, and most people notice nothing or only a mild illness.",
        "Some vaccines carry a weakened virus, some a killed one, some a single protein. The newest bring a strand of messenger RNA, from which our own cells build the protein for a day or two before the strand falls apart. In each case it is the body, not the injection, that makes the protection.",
    ),
    (
        "who wrote the first symphony for choir",
        "beethoven ninth symphony choral finale",
        "Beethoven's Ninth, first heard in Vienna in May 1824, was the first great symphony to bring in singers. Its finale sets Schiller's ode to joy for four soloists and choir. The composer, deaf by then, stood beside the conductor, and a singer had to turn him round so that he could see the applause.",
        "After Beethoven others joined choir and orchestra: Mendelssohn in his Hymn of Praise, Liszt in the Faust Symphony, Mahler in the Second, Third and Eighth. Mahler wrote that he waited years for words strong enough to end the Second, and found them at a funeral, sung by boys from the gallery.",
    ),
    (
        "how much water should you drink a day",
        "daily fluid intake adults litres",
        "Adults need roughly two to two and a half litres of fluid a day, of which a fifth comes with food. Tea, coffee and milk count. Heat, sport and fever raise the need; a pale yellow colour of the urine shows that it is met. There is no proof behind the rule of eight glasses.",
        "Drinking far more than thirst asks for does no good, and in marathon runners it has done harm: when several litres are taken within hours, the salt in the blood is thinned and the brain swells. Drink when you are thirsty, a little more in great heat, and take salt with it on long days.",
    ),
    (
        "how are diamonds formed",
        "diamond mantle kimberlite pressure",
        "Natural diamonds grew a hundred and fifty kilometres down, where the weight of rock packs carbon atoms into a lattice at some thirteen hundred degrees. Most are more than a billion years old. They came up in violent eruptions that carried them within hours through narrow pipes of a rock called kimberlite.",
        "A diamond can be grown in a laboratory in a few weeks, either in a press that imitates the deep earth or from a glowing gas that lays carbon on a seed, layer by layer. Under the loupe both look the same as a mined stone; a spectrometer tells them apart by their pattern of growth.",
    ),
    (
        "can i return shoes bought online without the box",
        "return policy shoes original packaging refund",
        "You may send back shoes within thirty days as long as they have been worn indoors only. Please use the original shoe box and put it into a second parcel; if the box is missing we deduct five euros. The refund reaches the card you paid with three to five working days after the parcel arrives.",
        "Our gift cards cannot be returned or paid out. They are valid for three years from the date of purchase and may be used in several steps, online and in every shop. If a card is lost, send us the number of the order; we block it and issue a new one with the remaining amount.",
    ),
    (
        "how does a suspension bridge carry its load",
        "suspension bridge cables anchorage deck",
        "In a suspension bridge the deck hangs from steel ropes, the ropes hang from two main cables, and the cables run over the towers to anchorages in the rock. The towers are pressed, the cables are pulled, and hardly anything is bent. That is why spans of two kilometres are possible with so little material.",
        "A light deck can be set swinging by a steady wind. The first bridge over the Tacoma Narrows twisted itself to pieces in 1940 in a wind of sixty-five kilometres an hour. Since then decks have been given the section of a wing or a stiff open truss, and every long bridge is tried in the wind tunnel.",
    ),
    (
        "what do bees do in winter",
        "honey bee winter cluster stores",
        "Honey bees do not sleep through the winter. They gather in a ball around the queen and shiver with their flight muscles, which keeps the middle above twenty degrees. Those outside change places with those inside. A colony eats fifteen kilos of honey until the first willow flowers.",
        "A beekeeper leaves the hive closed from November to March. The entrance is narrowed against mice, the roof is weighed down, and now and then the hive is lifted at the back to feel how heavy it is. If it is light in February, a block of sugar is laid over the cluster on a mild day.",
    ),
    (
        "how to calculate compound interest",
        "compound interest formula annual rate",
        "Compound interest is paid on the interest of earlier years too. Multiply the capital by one plus the rate, once for every year: 1,000 at 5 % becomes 1,000 x 1.05^10 = 1,628.89 after ten years. As a rule of thumb, divide 72 by the rate in per cent to see in how many years the money doubles.",
        "Banks quote a nominal and an effective rate. With monthly payment, 6 % nominal means 0.5 % a month, and 1.005 to the twelfth power is 1.0617, hence 6.17 % effective. Compare offers by the effective rate, which also has to contain the fees of a loan but not those of the account.",
    ),
    (
        "what language is spoken in brazil",
        "official language brazil portuguese",
        "Portuguese is the official language of Brazil and the mother tongue of nearly all of its two hundred million people. It differs from that of Lisbon in melody, in the place of pronouns and in many everyday words, about as much as American English from British. Some hundred and eighty indigenous languages survive, most with few speakers.",
        "Spanish is official in nine countries of South America, Dutch in Suriname, English in Guyana, and French in its overseas department. Quechua, the language of the Incas, is spoken by eight million people in the Andes and has official rank in Peru, Bolivia and Ecuador.",
    ),
    (
        "how far is the nearest star",
        "proxima centauri light years distance",
        "The nearest star after the sun is Proxima Centauri, 4.24 light years or forty million million kilometres away. It is a red dwarf too faint for the naked eye. The fastest probes we have sent out would need more than seventy thousand years to get there. At least one planet circles it in eleven days.",
        "Astronomers measure the distance of near stars by their parallax. Half a year apart the earth stands on opposite sides of the sun, and a near star seems to shift against those behind it. For the nearest the shift is three quarters of a second of arc, the width of a coin at five kilometres.",
    ),
    (
        "how do i make a git branch track a remote",
        "git set upstream branch",
        "To let a local branch follow one on the server, run `git push -u origin my-branch` the first time you push it; -u records the upstream. For a branch that already exists on both sides use `git branch --set-upstream-to=origin/my-branch`. From then on plain `git pull` and `git push` know where to go.",
        "`git fetch --prune` deletes the remembered names of branches that are gone from the server. It never touches your own branches. To find those whose upstream has disappeared, look for the word gone in the output of `git branch -vv`, and delete them one by one after a look at their last commit.",
    ),
    (
        "what was the cause of the first world war",
        "1914 july crisis alliances sarajevo",
        "The murder of the Austrian heir in Sarajevo on 28 June 1914 was the occasion. Behind it lay two blocs of alliances, an arms race at sea, rivalry on the Balkans, and timetables of mobilisation that left the generals no way back. Within six weeks a quarrel between Vienna and Belgrade had become a war of the great powers.",
        "The armistice was signed in a railway carriage in the forest of Compiègne in the early hours of 11 November 1918 and came into force at eleven o'clock. The treaties that followed redrew the map from the Baltic to the Persian Gulf; four empires had disappeared.",
    ),
    (
        "is it safe to eat raw eggs",
        "raw egg salmonella pasteurised",
        "Raw eggs may carry salmonella, though in hens that are vaccinated it has become rare. For most grown-ups a fresh mousse is no great risk. Small children, pregnant women and the sick should keep to eggs that are cooked until the yolk is firm, or to pasteurised ones from the carton.",
        "To see how old an egg is, lay it in a glass of water. A fresh one lies flat, a week-old one lifts its blunt end, and one that floats should be thrown away: the air chamber grows as water is lost through the shell. Store eggs with the point down and away from onions.",
    ),
    (
        "how to train for a first marathon",
        "marathon training plan beginner long run",
        "A beginner needs four to five months for a first marathon and should be able to run ten kilometres at the start. Three or four runs a week are enough, one of them long and slow; it grows by two kilometres a week up to thirty-two, with an easier week in every four. In the last fortnight rest is training.",
        "On the day itself begin slower than feels right. Who is three minutes too fast at the half loses ten after kilometre thirty-five, when the sugar in the muscles is used up. Drink a few mouthfuls at each table, take a gel every forty minutes, and wear no shoes that you have not run in for a month.",
    ),
    (
        "how do black holes emit radiation",
        "hawking radiation event horizon temperature",
        "In 1974 Stephen Hawking showed that a black hole is not quite black. Quantum fields near the horizon make it glow like a body whose temperature is inverse to its mass. For a hole as heavy as the sun this is sixty billionths of a degree, far colder than the sky around it, so that it still grows.",
        "What we see of black holes is the gas on its way in. It spirals through a disc, is heated by friction to millions of degrees and shines in X-rays. In some galaxies jets shoot out along the axis at nearly the speed of light and blow bubbles larger than the galaxy itself.",
    ),
    (
        "how is paper recycled",
        "paper recycling deinking pulp fibres",
        "Waste paper is stirred with warm water into a grey porridge. Sieves hold back staples and plastic, soap and air bubbles float off the ink, and the pulp is spread on an endless wire where the water runs out. Each round shortens the fibres; after about seven they are too short and leave with the sludge.",
        "Pizza boxes soaked with fat, till receipts and paper cups lined with plastic do not belong with waste paper. Envelopes with windows do: the machine separates the film. Tearing paper into small pieces does harm, because short strips slip through the sieves and their fibres are lost.",
    ),
]

# (language, query, the passage that answers it, one that does not)
LANGUAGES = [
    ("Chinese", "如何泡一杯好绿茶", "泡绿茶的水温不宜太高，八十度左右最好。先用热水温杯，放入三克茶叶，倒水至三分之一，轻轻摇动，等茶叶舒展后再加满。第一泡一分钟即可饮用。", "长城东起山海关，西至嘉峪关，全长两万多公里。现存的城墙大多修建于明代，用砖石和夯土筑成。"),
    ("Japanese", "東京から京都まで新幹線で何時間かかりますか", "東京駅から京都駅までは、のぞみ号で約二時間十五分です。ひかり号なら二時間四十分ほどかかります。指定席は一か月前から予約できます。", "味噌汁は、だしをとった鍋に豆腐とわかめを入れ、火を止めてから味噌を溶きます。煮立てると香りが飛んでしまいます。"),
    ("Korean", "김치를 맛있게 담그는 방법", "배추를 소금물에 여덟 시간 절인 뒤 깨끗이 씻어 물기를 뺍니다. 고춧가루, 마늘, 생강, 젓갈을 섞은 양념을 잎 사이에 바르고, 이틀쯤 실온에 두었다가 냉장고에 넣습니다.", "서울의 지하철은 아홉 개의 주요 노선으로 이루어져 있으며, 하루에 칠백만 명이 넘는 승객이 이용합니다."),
    ("Arabic", "ما هي فوائد زيت الزيتون", "زيت الزيتون البكر غني بالدهون غير المشبعة ومضادات الأكسدة، ويساعد على خفض الكوليسترول الضار وحماية القلب إذا استُعمل بدل الزبدة.", "تقع مدينة البتراء في جنوب الأردن، وقد نحتها الأنباط في الصخر الوردي قبل أكثر من ألفي عام."),
    ("Hindi", "भारत की राजधानी क्या है", "भारत की राजधानी नई दिल्ली है। यहाँ संसद भवन, राष्ट्रपति भवन और सर्वोच्च न्यायालय स्थित हैं। शहर की योजना सन् 1911 के बाद बनाई गई थी।", "आम को फलों का राजा कहा जाता है। गर्मियों में पेड़ पर पके आम सबसे मीठे होते हैं।"),
    ("Russian", "почему небо голубое", "Солнечный свет рассеивается на молекулах воздуха. Короткие волны, то есть синие, рассеиваются гораздо сильнее длинных, поэтому днём небо кажется нам голубым, а на закате красным.", "Транссибирская магистраль соединяет Москву и Владивосток. Поезд проходит девять тысяч километров за шесть суток."),
    ("Greek", "πότε χτίστηκε ο Παρθενώνας", "Ο Παρθενώνας χτίστηκε ανάμεσα στο 447 και το 432 π.Χ. στην Ακρόπολη της Αθήνας, με αρχιτέκτονες τον Ικτίνο και τον Καλλικράτη.", "Η φέτα φτιάχνεται από πρόβειο γάλα, ή από μείγμα με κατσικίσιο, και ωριμάζει δύο μήνες στην άλμη."),
    ("Thai", "วิธีทำข้าวผัด", "ใช้ข้าวสวยที่เย็นแล้ว ผัดกระเทียมกับน้ำมันให้หอม ใส่ไข่ ใส่ข้าว ปรุงด้วยน้ำปลาและซีอิ๊วขาว แล้วโรยต้นหอม", "ช้างเป็นสัตว์ประจำชาติของไทย และอาศัยอยู่ในป่าทางภาคเหนือและภาคตะวันตก"),
    ("Hebrew", "איך מכינים חומוס", "משרים את גרגירי החומוס לילה שלם, מבשלים עד שהם רכים מאוד, וטוחנים עם טחינה, לימון, שום ומעט מים קרים.", "ים המלח הוא המקום הנמוך ביותר ביבשה, יותר מארבע מאות מטרים מתחת לפני הים."),
    ("Bengali", "পদ্মা নদী কোথায়", "পদ্মা বাংলাদেশের প্রধান নদী। গঙ্গা নদী রাজশাহী জেলা দিয়ে বাংলাদেশে ঢুকে পদ্মা নাম নেয়।", "ইলিশ মাছ সরিষা দিয়ে রান্না করলে খুব সুস্বাদু হয়।"),
    ("Tamil", "தஞ்சை பெரிய கோவிலை கட்டியவர் யார்", "தஞ்சைப் பெரிய கோவில் முதலாம் இராசராச சோழனால் கி.பி. 1010 ஆம் ஆண்டில் கட்டி முடிக்கப்பட்டது.", "இட்லி மாவு அரைத்து ஒரு இரவு புளிக்க வைக்க வேண்டும்."),
    ("Georgian", "რა არის საქართველოს დედაქალაქი", "საქართველოს დედაქალაქია თბილისი. ქალაქი მდინარე მტკვრის ორივე ნაპირზე მდებარეობს.", "ხაჭაპური ცხობენ ყველით და ცომით."),
    ("Ukrainian", "скільки областей в Україні", "Україна поділена на двадцять чотири області, одну автономну республіку та два міста зі спеціальним статусом.", "Борщ варять із буряка, капусти, картоплі та м'яса."),
    ("German", "wie hoch ist die Zugspitze", "Die Zugspitze ist mit 2962 Metern der höchste Berg Deutschlands. Eine Zahnradbahn und zwei Seilbahnen führen hinauf; zu Fuß braucht man durch das Höllental acht Stunden.", "Die Straßenbahn der Linie 5 fährt werktags alle zehn Minuten, sonntags alle zwanzig."),
    ("French", "quelle est la recette de la pâte à crêpes", "Mélangez deux cent cinquante grammes de farine, trois œufs et un demi-litre de lait, ajoutez une pincée de sel, puis laissez reposer la pâte une heure avant de la cuire à feu vif.", "Le château de Chambord compte quatre cent vingt-six pièces et un escalier à double révolution."),
    ("Spanish", "¿cuál es el río más largo de España?", "El Tajo es el río más largo de la península ibérica: recorre más de mil kilómetros desde la sierra de Albarracín hasta Lisboa. El Ebro es el más largo que discurre solo por España.", "La tortilla lleva patatas, huevos, aceite y, según quien la haga, cebolla."),
    ("Vietnamese", "cách nấu phở bò", "Ninh xương bò với gừng và hành nướng trong nhiều giờ, thêm hồi, quế, thảo quả, rồi chan nước dùng nóng lên bánh phở và thịt bò thái mỏng.", "Vịnh Hạ Long có gần hai nghìn hòn đảo đá vôi."),
    ("Turkish", "İstanbul Boğazı kaç kilometre", "İstanbul Boğazı yaklaşık otuz kilometre uzunluğundadır ve Karadeniz'i Marmara Denizi'ne bağlar. En dar yeri yedi yüz metredir.", "Türk kahvesi cezvede, kısık ateşte, köpüğü taşırılmadan pişirilir."),
]

# (query, document): what breaks parsers, not people
ODD = [
    ("what is an empty document", ""),
    ("", "A document without a query still gets a score."),
    ("", ""),
    (" ", "   "),
    ("two   spaces    between\twords\n\nand lines", "Runs   of\t\tblanks,\r\ntabs and\n\n\nline breaks    count as one   break."),
    ("control characters", "A bell\u0007, a null\u0000 character, an escape\u001b[31m and a delete\u007f hide in this line\u0085 of text."),
    ("zero width characters", "zero\u200bwidth space, a soft\u00adhyphen, a word\u2060joiner, and a byte order mark\ufeff inside"),
    ("right to left marks", "\u202eabc\u202c and \u200fמימין\u200e to left"),
    ("replacement character \ufffd", "broken \ufffd\ufffd encoding"),
    ("?!", "... --- ... !!! ??? ;;; ((( ))) [[[ ]]] {{{ }}}"),
    ("punctuation-only", "\u2026\u2014\u2013\u00ab\u00bb\u201e\u201c\u2018\u2019\u00bf\u00a1\u3001\u3002\uff01\uff1f"),
    ("family emoji", "The picture shows 👨‍👩‍👧‍👦 at the beach, then 🏳️‍🌈 and 👩🏽‍🚀 with 🇯🇵🇧🇷 flags."),
    ("👩‍💻 working from home", "Tips for 👩‍💻👨🏿‍💻: a good chair 🪑, daylight ☀️, and a door that shuts 🚪."),
    ("😀", "😀😃😄😁😆😅🤣😂🙂🙃"),
    ("longest word", "a" * 100),
    ("longest word", "a" * 101),
    ("a word of a hundred and fifty letters", "The word " + "donaudampfschifffahrt" * 7 + " is too long for the vocabulary, the next is not."),
    ("long url", "https://shop.example/catalogue/" + "very-long-path-segment/" * 8 + "?sort=price&page=12#top"),
    ("base64 blob", "bWFpdHJlZA" * 30),
    ("cafe\u0301 re\u0301sume\u0301", "Cafe\u0301s accept a re\u0301sume\u0301 on paper; na\u00efve co\u00f6peration with an A\u030angstro\u0308m."),
    ("café résumé", "Cafés accept a résumé on paper; naïve coöperation with an Ångström."),
    ("stacked accents", "z\u0335\u0321\u0322\u031a\u0308a\u0334\u0300\u0301\u0302l\u0338\u0323g\u0337\u0304o\u0336\u0315 is a text with many marks"),
    ("İstanbul ǅungla ﬁne ﬂoor", "Title case ǅ, ligatures ﬁ ﬂ ﬀ, dotless ı, sharp ß and ẞ, long ſ, final ς and Σ."),
    ("ＦＵＬＬＷＩＤＴＨ text", "Ｆｕｌｌｗｉｄｔｈ letters, ㎏ and ㏒, circled ① ② ③, half ½, superscript x² and subscript H₂O."),
    ("html page title", "<html><head><title>Opening hours</title></head><body><p class=\"big\">Mon&ndash;Fri 9&nbsp;&ndash;&nbsp;17</p><!-- closed on Sundays --><script>var x = 1 < 2;</script></body></html>"),
    ("read a file in rust", "let text = std::fs::read_to_string(path)?;\nfor (number, line) in text.lines().enumerate() {\n    println!(\"{number:>4} {line}\");\n}"),
    ("python list comprehension", "squares = [n * n for n in range(10) if n % 2 == 0]  # 0, 4, 16, 36, 64"),
    ("sql join orders customers", "SELECT c.name, SUM(o.total) AS total FROM customers c LEFT JOIN orders o ON o.customer_id = c.id GROUP BY c.name HAVING SUM(o.total) > 100;"),
    ("json with nulls", "{\"id\": null, \"tags\": [], \"price\": -0.0, \"note\": \"\\u0000\", \"nested\": {\"a\": {\"b\": {}}}}"),
    ("null", "null"),
    ("None", "NaN undefined nil NULL None N/A -"),
    ("3.14159", "3.14159265358979323846264338327950288419716939937510582097494459"),
    ("invoice 2024-0017", "Invoice no. 2024-0017, 12 x 3.49 = 41.88 EUR, VAT 19 % = 7.96, due 2024-03-31, IBAN DE00 0000 0000 0000 0000 00"),
    ("[CLS] special tokens [SEP] in text", "A [MASK] in the text, an [UNK], a [PAD], and </s> <s> <pad> of another family [SEP] stay what they are."),
    ("[sep]", "lower case [cls] and [sep] are words"),
    ("a\\b", "C:\\Users\\Public\\notes.txt and \\\\server\\share, regex ^\\d{3}-\\w+$"),
    ("$x^2 + y^2 = r^2$", "\\frac{a}{b} \\leq \\sum_{i=1}^{n} x_i \\approx \\int_0^1 f(t)\\,dt, ∀ε>0 ∃δ>0: |x−a|<δ ⇒ |f(x)−f(a)|<ε"),
    ("the the the the the the", "the " * 40),
    ("UPPER CASE QUERY ABOUT TIDES", "TIDES ARE RAISED CHIEFLY BY THE MOON AND LESS BY THE SUN."),
    ("x", "y"),
    ("don't can't won't", "It's the dogs' owner's mother-in-law's well-known, state-of-the-art rock'n'roll."),
    ("𝔣𝔞𝔫𝔠𝔶 𝓁𝑒𝓉𝓉𝑒𝓇𝓈", "𝐁𝐨𝐥𝐝 𝑖𝑡𝑎𝑙𝑖𝑐 𝕕𝕠𝕦𝕓𝕝𝕖 letters from beyond the basic plane, and 𠀀𠮷 ideographs"),
    ("mixed 中文 and English query", "The sign said 出口 (exit), the second エレベーター, the third 화장실."),
]


def long_text(first, count):
    """A readable text of `count` passages, beginning with topic `first`; eight passages pass 512 tokens."""
    passages = [passage for _, _, *passages in TOPICS for passage in passages]
    return " ".join(passages[(2 * first + step) % len(passages)] for step in range(count))


def topic_pairs():
    """Each query with its passages, with a neighbour's (irrelevant) and with one from afar."""
    pairs = []
    for number, (question, keywords, *passages) in enumerate(TOPICS):
        far = TOPICS[(number + 11) % len(TOPICS)]
        for query in (question, keywords):
            pairs += [(query, passage) for passage in passages]
        pairs.append((question, far[2]))
    return pairs


def language_pairs():
    """Each query with the right and the wrong passage."""
    return [(query, passage) for _, query, *passages in LANGUAGES for passage in passages]


def long_pairs():
    """Beyond 512 tokens on one side, on the other, and on both."""
    chinese, japanese, russian, hindi = (
        (query, (right + wrong) * 5) for language, query, right, wrong in LANGUAGES if language in ("Chinese", "Japanese", "Russian", "Hindi")
    )
    return [
        (TOPICS[0][0], long_text(0, 8)),
        (TOPICS[5][0], long_text(2, 10)),
        (TOPICS[12][0], long_text(20, 9)),
        (long_text(9, 2), long_text(9, 8)),
        (long_text(3, 8), TOPICS[3][2]),
        (long_text(14, 8), "short"),
        (long_text(7, 6), long_text(16, 6)),
        (long_text(21, 4), long_text(1, 4)),
        chinese,
        japanese,
        russian,
        hindi,
    ]


def all_pairs():
    return topic_pairs() + language_pairs() + long_pairs() + ODD
