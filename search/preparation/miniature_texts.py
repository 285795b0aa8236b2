"""The sentences that the miniature speaks: seeded combinations of common words, a few seconds long at most."""

import random

# Everyday words; together the Amharic list uses 88 different Ethiopic letters.
AMHARIC = """
ሰላም ውሃ ቤት ልጅ ሰው እናት አባት ወንድም እህት መጽሐፍ ትምህርት ቡና እንጀራ ወተት ስጋ ዳቦ ከተማ መንገድ ተራራ ወንዝ ፀሐይ ጨረቃ ኮከብ ዝናብ
ነፋስ ቀን ሌሊት ጠዋት ማታ ዛሬ ነገ ትናንት ትልቅ ትንሽ ጥሩ መጥፎ አዲስ አሮጌ ቀይ ነጭ ጥቁር አረንጓዴ ቢጫ ሰማያዊ መጣ ሄደ በላ ጠጣ አየ ሰማ
ተናገረ ጻፈ አነበበ ሠራ ተኛ ገዛ ሸጠ ነው ነበር አለ የለም እና ወደ ውስጥ ላይ እኔ አንተ እሱ እሷ እኛ እነሱ አንድ ሁለት ሦስት አራት አምስት
ስድስት ሰባት ስምንት ዘጠኝ አስር አበበ ከበደ ኢትዮጵያ
""".split()

ENGLISH = """
hello water house child person mother father brother sister book school coffee bread milk meat rice city road
mountain river sun moon star rain wind day night morning evening today tomorrow yesterday big small good bad new
old red white black green yellow blue came went ate drank saw heard spoke wrote read worked slept bought sold is
was has no and to in on me you he she we they one two three four five six seven eight nine ten quick brown jumped
over lazy dog fox box very happy judge zebra village garden window kitchen letter music paper silver golden voice
winter summer spring friend music table chair bridge forest island ocean valley field flower cloud
""".split()


def sentences(words: list[str], count: int, seed: int, shortest: int = 3, longest: int = 5) -> list[str]:
    """`count` distinct sentences of `shortest` to `longest` words; the same for a seed on every machine."""
    rng = random.Random(seed)
    found: dict[str, None] = {}
    while len(found) < count:
        found[" ".join(rng.choice(words) for _ in range(rng.randint(shortest, longest)))] = None
    return list(found)
