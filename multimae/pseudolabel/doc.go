// Package pseudolabel turns a folder of photographs into a multi-modal dataset: package teacher makes
// depth and class maps, and [Run] writes them beside the photographs as package data reads them. The
// teachers are those that [teacher.Open] returns.
//
//	OUT/rgb/NAME.jpg          the photograph, linked or copied
//	OUT/depth/NAME.png        16 bits, larger is farther, stretched for each photograph
//	OUT/depth.jsonl           a line of JSON for each: see [Depth]; depth.shard-I-of-N.jsonl of a shard
//	OUT/semseg/NAME.png       8-bit ids; 255 where no teacher is sure
//	OUT/classes.json          the names of the classes, by modality
//	OUT/pseudolabel.json      the networks that made each modality, with their SHA-256
//	OUT/.pseudolabel.lock     keeps other runs out; one that was killed leaves it, which does no harm.
//	                          Shards have locks of their own
//
// NAME has the folders of the photograph. Where the photographs are in train, val and test, so are
// the results. Maps have the size of the photograph as it is seen: its EXIF orientation counts.
//
// Where the disk of OUT ignores the case of letters, photographs whose names differ only in case would
// share their maps: the first is labelled, and [Options].Skipped hears of the others.
//
// A file appears under its name only when it is complete, and the photograph is the last one of its
// sample. So a run that was killed leaves a new dataset good as far as it goes. Where the photographs
// were there before, in place or for a further modality, those that the run did not come to lack a map
// until the next one is done; training refuses them unless it skips bad samples. The next run makes what
// is missing; where nothing is, it does nothing. Results do not depend on the number of workers, on the
// shards, or on interruptions.
package pseudolabel
