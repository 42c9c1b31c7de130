package data

var SceneClasses = make([]string, 16)

func Scenes(first, n, size int, seed uint64) Dataset { panic("soon") }
