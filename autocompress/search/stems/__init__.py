"""Searching over stems: smaller float models of the original, each of which is quantized anew.

* options     what may be done to one group of channels or one layer, with its price and its damage
* survey      asks workers for both
* ladder      the least damaging choice of options for a price
* proposing   recipes of stems from mild to strong
* opening     has a stem made and sets up what the search knows about it
* rounds      evaluates quantized candidates of a stem
* stage       the story
* tasks       what runs in workers
* curves      what a group of channels loses by width, or a layer by rank; curve_stage measures it for all of them
"""
