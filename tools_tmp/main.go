package main
import ("github.com/schollz/progressbar/v3"; "gonum.org/v1/gonum/stat/distmv"; "github.com/peterbourgon/ff/v3/ffcli"; "golang.org/x/image/font/basicfont"; "github.com/klauspost/cpuid/v2"; "golang.org/x/image/draw"; "gonum.org/v1/gonum/stat/distuv")
func main(){ _ = progressbar.Default(3); _ = distmv.NewDirichlet; _ = ffcli.Command{}; _ = basicfont.Face7x13; _ = cpuid.CPU; _ = draw.Draw; _ = distuv.Beta{} }
